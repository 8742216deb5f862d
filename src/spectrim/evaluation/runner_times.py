"""Time of runners on the same clips, as columns of a sweep, within a budget of seconds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..common.errors import SpectrimNotice
from ..common.interruption import Stopped
from ..deploy.runner import Runner
from .compilation import compile_within
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
            Compiled models are compiled for this size, as many as fit into half of the budget. A
            note counts the others, which are not timed.
        rounds: maximum number of timed pairs per runner; budget: seconds for everything.
        tick: called after each timed pair.

    Raises:
        Stopped: Ctrl-C; its result is the columns so far.
    """
    began = time.perf_counter()
    is_compiled = any(runner.is_compiled for runner in runners)
    size = _batch_size(runners, waveforms, rounds, budget / 2 if is_compiled else budget)
    inputs = runners[0].shared_inputs(waveforms[:size])
    compiled: list[float | None] = [0.0] * len(runners)
    if is_compiled:
        compiled = _compile(runners, inputs, size, budget / 2)
    chosen = [index for index, seconds in enumerate(compiled) if seconds is not None]
    timings: list[Timing | None] = [None] * len(runners)
    stopped = False
    if chosen:
        calls = [partial(runners[index].timed_predict, inputs) for index in chosen]
        left = budget - (time.perf_counter() - began)
        try:
            measured = interleaved_within(calls, rounds, left, runners[0].device, tick)
        except Stopped as stop:
            measured, stopped = stop.result, True
        for index, timing in zip(chosen, measured, strict=True):
            timings[index] = timing
    columns = [time_columns(timing, size) for timing in timings]
    if is_compiled:
        for row, seconds in zip(columns, compiled, strict=True):
            row["compile_s"] = round(seconds or 0.0, 3)
    if stopped:
        raise Stopped(columns)
    return columns


def _compile(
    runners: Sequence[Runner], inputs: Any, batch_size: int, seconds: float
) -> list[float | None]:
    """The seconds of each compilation, see `compile_within`; a note counts the omitted ones."""
    calls = [partial(runner.compile_timed, inputs) for runner in runners]
    compiled = compile_within(calls, seconds)
    if num_late := compiled.count(None):
        text = (
            f"{num_late} of {len(runners)} rows are not timed, because compilation for batch size "
            f"{batch_size} does not fit into {seconds:.3g} s, half of the budget. Use a larger "
            "--budget, fewer scores or keep rates, or omit --compile."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    return compiled


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
    inputs = first.shared_inputs(waveforms[:1])
    began = time.perf_counter()
    first.predict(inputs)  # not `timed_predict`, which would compile for one clip
    seconds_per_clip = time.perf_counter() - began
    ratios = [runner.macs / first.macs for runner in runners[1:]]
    # A warm-up of each runner, then pairs of the first runner and another one.
    pairs = min(rounds, LEAST_ROUNDS) * sum(1 + ratio for ratio in ratios)
    runs = 1 + sum(ratios) + pairs
    fitting = budget / (runs * max(seconds_per_clip, 1e-9))
    return max(1, min(len(waveforms), int(fitting)))
