"""How long a sweep will take, measured on one clip before it starts."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import SpectrimNotice
from ..data.batches import batches
from ..data.clip import Clip
from ..deploy.runner import Runner
from .predict import seconds_and_rate

TRIES = 3  # clips that may be unreadable before the estimate gives up
QUICK = 1.0  # seconds that the estimate may take, after the first run of one clip


@dataclass(frozen=True)
class SweepDuration:
    """Expected seconds of a sweep.

    Attributes:
        clips: to run all runners on all clips.
        timing: to time them afterwards, without a limit.
    """

    clips: float
    timing: float


def sweep_duration(
    runners: Sequence[Runner], clips: Sequence[Clip], batch_size: int, rounds: int
) -> SweepDuration | None:
    """Measure the first runner on one clip; the others take a time in proportion to their MACs.

    Args:
        batch_size: clips timed at once; rounds: number of timed pairs per runner.

    Returns:
        None if the first clips cannot be read.
    """
    waveform = first_waveform(clips, *seconds_and_rate(runners))
    if waveform is None:
        return None
    inputs, prediction = _seconds_per_clip(runners[0], [waveform])
    # The first run includes preparations, and a batch takes less per clip: repeat if it is quick.
    size = min(batch_size, int(QUICK / (inputs + prediction)))
    if size > 0:
        inputs, prediction = _seconds_per_clip(runners[0], [waveform] * size)
    relative = [runner.macs / runners[0].macs for runner in runners]
    pairs = sum(1 + ratio for ratio in relative[1:])
    return SweepDuration(
        len(clips) * (inputs + prediction * sum(relative)), rounds * batch_size * prediction * pairs
    )


def first_waveform(clips: Sequence[Clip], seconds: float, rate: int) -> np.ndarray | None:
    """The first `seconds` of the first readable one of the first clips."""
    with warnings.catch_warnings():  # the sweep reads the clip again and prints its notes then
        warnings.simplefilter("ignore", SpectrimNotice)
        for batch in batches(clips[:TRIES], 1, seconds, rate=rate):
            if batch.waveforms:
                return batch.waveforms[0]
    return None


def _seconds_per_clip(runner: Runner, waveforms: list[np.ndarray]) -> tuple[float, float]:
    """Seconds per clip to prepare the inputs, and to run."""
    began = time.perf_counter()
    inputs = runner.shared_inputs(waveforms)
    prepared = time.perf_counter()
    runner.predict(inputs)
    ended = time.perf_counter()
    return (prepared - began) / len(waveforms), (ended - prepared) / len(waveforms)
