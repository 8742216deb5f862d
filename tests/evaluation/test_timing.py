"""Interleaved timing of planted durations: ratios, quartiles, rounds and order."""

from __future__ import annotations

import pytest

from spectrim.evaluation import timing
from spectrim.evaluation.timing import interleaved


class Clock:
    """A clock that only `call` moves, by the planted durations in turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def call(self, name, *durations):
        """A call that takes the durations one after the other, the last one ever after."""
        left = list(durations)

        def run():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_planted_ratio_is_found(clock):
    base, fast = interleaved([clock.call("base", 0.03), clock.call("fast", 0.01)], rounds=7)
    assert (base.seconds, base.speedup, base.rounds) == (pytest.approx(0.03), 1.0, 7)
    assert fast.seconds == pytest.approx(0.01) and fast.speedup == pytest.approx(3)
    assert fast.low == pytest.approx(3) and fast.high == pytest.approx(3)


def test_ratios_are_taken_within_a_pair(clock):
    """A machine that slows down between rounds changes the times, not the speed-up."""
    base = clock.call("base", 9, 2, 4, 8)  # the first is the warm-up
    other = clock.call("other", 9, 1, 2, 4)
    result = interleaved([base, other], rounds=3, budget=1e9)[1]
    assert result.speedup == pytest.approx(2) and result.seconds == pytest.approx(2)


def test_quartiles_are_those_of_the_ratios(clock):
    base = clock.call("base", 9, 10, 20, 30, 40, 50)
    other = clock.call("other", 10)
    result = interleaved([base, other], rounds=5, budget=1e9)[1]
    assert (result.low, result.speedup, result.high) == pytest.approx((2, 3, 4))


def test_the_first_of_a_pair_changes_with_each_round(clock):
    interleaved([clock.call("a", 1), clock.call("b", 1)], rounds=2, budget=1e9)
    warm_up, pairs = clock.calls[:2], clock.calls[2:]
    assert warm_up == ["a", "b"] and pairs == ["b", "a", "a", "b"]


def test_the_budget_ends_it_after_the_least_rounds(clock):
    calls = [clock.call("a", 1), clock.call("b", 1)]
    assert interleaved(calls, rounds=1000, budget=0.0, least=2)[1].rounds == 2
    assert interleaved(calls, rounds=1000, budget=9.0)[1].rounds == 5  # of two seconds each


def test_a_single_call_is_timed_too(clock):
    (alone,) = interleaved([clock.call("a", 5, 1, 2, 3)], rounds=3)
    assert (alone.seconds, alone.speedup, alone.rounds) == (2, 1.0, 3)
