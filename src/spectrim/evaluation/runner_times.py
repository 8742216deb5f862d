"""Time of runners on the same clips, as columns of a sweep, within a budget of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..common.interruption import Stopped
from ..deploy.runner import Runner
from .timing import LEAST_ROUNDS, Timing, interleaved_within


def times_of_runners(
    runners: Sequence[Runner],
    waveforms: Sequence[np.ndarray],
    rounds: int,
    budget: float,
    tick: Callable[[], None],
) -> list[dict[str, Any]]:
    """Time runners against the first one; the columns of each, see `time_columns`.

    Args:
        runners: the most important first; those that do not fit into the budget are not timed.
        waveforms: a batch of clips. If it takes too long for three rounds of all runners within
            the budget, fewer of its clips are used ("timing_batch_size").
        rounds: maximum number of timed pairs per runner; budget: seconds for everything.
        tick: called after each timed pair.

    Raises:
        Stopped: Ctrl-C; its result is the columns so far.
    """
    began = time.perf_counter()
    size = _batch_size(runners, waveforms, rounds, budget)
    inputs = runners[0].shared_inputs(waveforms[:size])

    def call(runner: Runner) -> Callable[[], object]:
        return lambda: runner.timed_predict(inputs)

    calls = [call(runner) for runner in runners]
    left = budget - (time.perf_counter() - began)
    try:
        timings = interleaved_within(calls, rounds, left, runners[0].device, tick)
    except Stopped as stopped:
        raise Stopped([time_columns(timing, size) for timing in stopped.result]) from None
    return [time_columns(timing, size) for timing in timings]


def time_columns(timing: Timing | None, batch_size: int) -> dict[str, Any]:
    """The columns of measured time; None and 0 for a runner that was not timed."""
    if timing is None:
        return {
            "ms_per_clip": None,
            "speedup": None,
            "speedup_quartiles": None,
            "timing_rounds": 0,
            "timing_batch_size": None,
        }
    return {
        "ms_per_clip": timing.seconds / batch_size * 1000,
        "speedup": timing.speedup,
        "speedup_quartiles": [timing.low, timing.high],
        "timing_rounds": timing.rounds,
        "timing_batch_size": batch_size,
    }


def _batch_size(
    runners: Sequence[Runner], waveforms: Sequence[np.ndarray], rounds: int, budget: float
) -> int:
    """The number of clips to time at once, so that the least rounds of all runners fit."""
    first = runners[0]
    if any(runner.is_compiled for runner in runners):
        return len(waveforms)
    inputs = first.shared_inputs(waveforms[:1])
    began = time.perf_counter()
    first.timed_predict(inputs)
    seconds_per_clip = time.perf_counter() - began
    ratios = [runner.macs / first.macs for runner in runners[1:]]
    # A warm-up of each runner, then pairs of the first runner and another one.
    pairs = min(rounds, LEAST_ROUNDS) * sum(1 + ratio for ratio in ratios)
    runs = 1 + sum(ratios) + pairs
    fitting = budget / (runs * max(seconds_per_clip, 1e-9))
    return max(1, min(len(waveforms), int(fitting)))
