"""What a list of clips holds: how many, how long, of what, and the figures that normalise it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..audio.constants import SAMPLE_RATE, SHIFT, WINDOW, num_samples
from ..audio.decode import blocks, check_length, sound_name
from ..audio.filterbank import FilterBank, sound
from ..common.errors import SpectrimError
from .clip import Clip

PIECE = 1000  # frames that the filter bank takes of a clip at a time: 10 s


@dataclass(frozen=True)
class Stats:
    """Figures of clips; all but `failures` are of those that could be read.

    Attributes:
        clips: how many.
        seconds: of sound, all together.
        classes: clips a label, in order of the labels; a clip counts for each of its labels.
        splits, folds: clips a split and a fold, in order; empty where there is none.
        shortest, median, p95, longest: lengths in seconds; 95 % of the clips are no longer than
            `p95`.
        mean, std: of the log-mel filter bank, over all bins of all frames that are sound.
        failures: position in the list and reason, of what could not be read.
    """

    clips: int
    seconds: float
    classes: dict[str, int]
    splits: dict[str, int]
    folds: dict[str, int]
    shortest: float
    median: float
    p95: float
    longest: float
    mean: float
    std: float
    failures: list[tuple[int, str]]


def measure(
    clips: Sequence[Clip],
    seconds: float | None = None,
    workers: int = 2,
    tick: Callable[[int], object] = lambda done: None,
) -> Stats:
    """Decode clips and measure them, ten seconds of each worker's clip at a time.

    `mean` and `std` (the population's, summed in float64) count only frames that are sound.
    The paper's figures come from features that were padded to a fixed
    length, so that these need not match them: padding pulls the mean towards its own value, the
    more the shorter the clips are. Frames of digital silence within a clip are sound, at the
    floor of -15.94.

    Args:
        seconds: no more than this much of each clip; lengths are of the part that was decoded.
        workers: threads, each with a clip of its own.
        tick: called with 1 after each clip.

    Raises:
        SpectrimError: there is no clip, or none could be read.
    """
    lengths: list[float] = []
    failures: list[tuple[int, str]] = []
    read: list[Clip] = []
    sums = np.zeros(3)  # of the values, of their squares, and how many they are
    bank = FilterBank()

    def one(clip: Clip) -> tuple[float, np.ndarray] | SpectrimError:
        try:
            return _measured(bank, clip, seconds)
        except SpectrimError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        try:
            for position, (clip, found) in enumerate(zip(clips, pool.map(one, clips), strict=True)):
                if isinstance(found, SpectrimError):
                    failures.append((position, str(found)))
                else:
                    read.append(clip)
                    lengths.append(found[0])
                    sums += found[1]
                tick(1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if not read:
        first = f": {failures[0][1]}" if failures else "."
        raise SpectrimError(f"none of {len(clips)} clips could be read{first}")
    mean = sums[0] / sums[2]
    median, p95 = np.quantile(lengths, (0.5, 0.95))
    return Stats(
        clips=len(read),
        seconds=float(sum(lengths)),
        classes=_counts(label for clip in read for label in clip.labels),
        splits=_counts(clip.split for clip in read if clip.split),
        folds=_counts(clip.fold for clip in read if clip.fold),
        shortest=min(lengths),
        median=float(median),
        p95=float(p95),
        longest=max(lengths),
        mean=float(mean),
        std=float(np.sqrt(max(sums[1] / sums[2] - mean**2, 0.0))),
        failures=failures,
    )


def _measured(bank: FilterBank, clip: Clip, seconds: float | None) -> tuple[float, np.ndarray]:
    """Seconds of a clip, and (3,) sums over it, piece by piece.

    The frames of the pieces, together, are those of the whole. Each piece loses its own mean
    instead of the whole's; since every frame loses its own mean besides, the features are the same.
    """
    held, total, sums = np.zeros(0, np.float32), 0, np.zeros(3)
    for block in blocks(clip.path, clip.start, clip.end_within(seconds)):
        held = np.concatenate([held, block])
        total += len(block)
        while len(held) >= num_samples(PIECE):
            sums += _sums(bank, held[: num_samples(PIECE)])
            held = held[PIECE * SHIFT :]
    check_length(total, sound_name(clip.path))
    return total / SAMPLE_RATE, sums + _sums(bank, held)


def _sums(bank: FilterBank, waveform: np.ndarray) -> np.ndarray:
    """(3,) float64: sum, sum of squares and number of the values in frames that are sound."""
    if len(waveform) < WINDOW:
        return np.zeros(3)
    with torch.inference_mode():
        features, valid = bank(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        values = features[sound(features, valid)[..., 0]].double()
        return np.array([values.sum().item(), values.square().sum().item(), values.numel()])


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
