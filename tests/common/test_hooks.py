"""The documented hooks that stop a process at a known point."""

from __future__ import annotations

from collections import Counter

import pytest

from spectrim.common import hooks
from spectrim.common.errors import SpectrimError


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch):
    """Other tests of this process may have passed points."""
    monkeypatch.setattr(hooks, "_steps", Counter())


def test_the_signal_comes_once_when_the_count_is_reached(monkeypatch):
    signals = []
    monkeypatch.setattr("signal.raise_signal", signals.append)
    monkeypatch.setenv("SPECTRIM_STOP_AT", "sweep:clips:5")
    counts = []
    for _ in range(4):
        hooks.pass_point("sweep:clips", 2)
        hooks.pass_point("sweep:rounds", 9)
        counts.append(len(signals))
    assert counts == [0, 0, 1, 1]


def test_without_the_variable_nothing_is_counted(monkeypatch):
    monkeypatch.delenv("SPECTRIM_STOP_AT", raising=False)
    hooks.pass_point("sweep:clips", 100)
    assert hooks._steps["sweep:clips"] == 0


@pytest.mark.parametrize("text", ["sweep:clips", "sweep:clip:3", "sweep:clips:x", "3"])
def test_a_wrong_value_names_the_points(monkeypatch, text):
    monkeypatch.setenv("SPECTRIM_STOP_AT", text)
    with pytest.raises(SpectrimError, match="sweep:rounds"):
        hooks.pass_point("sweep:clips")


def test_seconds_between_saves_can_be_set(monkeypatch):
    monkeypatch.delenv("SPECTRIM_SAVE_EVERY", raising=False)
    assert hooks.seconds_between_saves() == 30
    monkeypatch.setenv("SPECTRIM_SAVE_EVERY", "0.5")
    assert hooks.seconds_between_saves() == 0.5
