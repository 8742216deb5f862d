"""Interleaved timing of planted durations: ratios, quartiles, rounds and order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrim.common.interruption import Stopped
from spectrim.evaluation import timing
from spectrim.evaluation.timing import interleaved, interleaved_within


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


def test_times_agree_with_speed_ups_on_a_machine_that_slows_down(clock):
    """The first call has moments of its own: pairs with the third call ran three times slower.

    The third call is 1.2 times as fast. Its own median time (2.5) against the median of all
    times of the first (1) would say 0.4.
    """
    base = clock.call("base", 1, 1, 3, 1, 3, 1, 3, 1)
    second, third = clock.call("second", 0.5), clock.call("third", 2.5)
    first, _, slow = interleaved([base, second, third], rounds=3, budget=1e9)
    assert slow.speedup == pytest.approx(1.2)
    assert first.seconds / slow.seconds == pytest.approx(slow.speedup)


durations = st.floats(0.01, 2.0)


@given(first=st.floats(0.01, 5.0), others=st.lists(durations, min_size=1, max_size=8),
       budget=st.floats(0.5, 60.0), rounds=st.integers(1, 20))  # fmt: skip
def test_a_budget_holds_within_a_fifth(first, others, budget, rounds):
    """For calls of steady times; warm-ups included. A first call over the budget runs once."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", lambda: clock.now)
        others = [min(other, first) for other in others]
        calls = [clock.call(str(index), seconds) for index, seconds in enumerate([first, *others])]
        timings = interleaved_within(calls, rounds, budget)
    assert clock.now <= max(first, 1.2 * budget)
    timed = [entry is not None for entry in timings]
    assert timed == sorted(timed, reverse=True)  # the first ones, not any
    for entry, seconds in zip(timings[1:], others, strict=True):
        if entry is not None:
            assert entry.speedup == pytest.approx(first / seconds)
            assert entry.seconds == pytest.approx(seconds)
    # A row is only left out if three rounds of all rows before it and a safe guess do not fit.
    needed = (len(calls) + 2 * min(3, rounds) * len(others)) * first
    assert all(timed) or needed > budget


def test_rounds_that_no_longer_fit_are_not_tried(clock, monkeypatch):
    """A million further rounds, each a look at the clock, would take seconds over the budget."""
    looks = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: looks.append(1) or clock.now)
    calls = [clock.call("base", 1.0), clock.call("other", 0.5)]
    _, other = interleaved_within(calls, rounds=1_000, budget=10.0)
    assert other.rounds == 6
    assert len(looks) < 100


def test_a_budget_too_short_for_all_times_the_first_ones(clock):
    calls = [clock.call("base", 1), *(clock.call(name, 1) for name in "abcd")]
    timings = interleaved_within(calls, rounds=20, budget=16)
    # Warm-ups of base, a and b take 3 s, three rounds of both 12 s; with c it would be 22 s. One
    # more pair ends at 17 s, within a tenth of the budget.
    assert [entry and entry.rounds for entry in timings] == [4, 4, 3, None, None]
    assert "c" not in clock.calls


def test_ctrl_c_keeps_the_pairs_so_far(clock):
    def interrupt():
        if clock.calls.count("b") == 2:  # its warm-up and its first pair
            raise KeyboardInterrupt

    calls = [clock.call("a", 1), clock.call("b", 0.5), clock.call("c", 0.25)]
    with pytest.raises(Stopped) as stopped:
        interleaved_within(calls, 20, 1e9, tick=interrupt)
    first, second, third = stopped.value.result
    assert (first.rounds, second.rounds, second.speedup, third) == (1, 1, 2.0, None)
