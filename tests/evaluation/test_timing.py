"""Interleaved timing: it finds a planted ratio, and gives up where its budget ends."""

from __future__ import annotations

import time

import pytest

from spectrim.evaluation.timing import interleaved


def test_a_planted_ratio_is_found():
    found = interleaved([lambda: time.sleep(0.03), lambda: time.sleep(0.01)], rounds=7)
    assert found[0].speedup == 1.0
    assert found[1].speedup == pytest.approx(3, rel=0.4)
    assert found[1].rounds == 7


def test_the_budget_ends_it_after_the_least_rounds():
    found = interleaved([lambda: time.sleep(0.01)] * 2, rounds=1000, budget=0.0, least=2)
    assert found[1].rounds == 2


def test_a_single_call_is_timed_too():
    assert interleaved([lambda: time.sleep(0.002)], rounds=3)[0].seconds >= 0.002
