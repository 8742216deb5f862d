"""What a list of clips holds: how many, how long, of what, and the figures that normalise it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..audio.constants import SAMPLE_RATE, SHIFT, WINDOW, samples_of
from ..audio.filterbank import FilterBank, sound
from ..common.errors import SpectrimError
from .batches import batches
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
    batch_size: int = 32,
    tick: Callable[[int], object] = lambda done: None,
) -> Stats:
    """Decode clips and measure them; no more than two batches of them are held in memory.

    `mean` and `std` (the population's, summed in float64) count only frames that are sound.
    The paper's figures come from features that were padded to a fixed
    length, so that these need not match them: padding pulls the mean towards its own value, the
    more the shorter the clips are. Frames of digital silence within a clip are sound, at the
    floor of -15.94.

    Args:
        seconds: no more than this much of each clip; lengths are of the part that was decoded.
        batch_size: clips that are decoded at a time.
        tick: called with the number of clips of each batch that is done.

    Raises:
        SpectrimError: there is no clip, or none could be read.
    """
    lengths: list[float] = []
    failures: list[tuple[int, str]] = []
    read: list[Clip] = []
    sums = np.zeros(3)  # of the values, of their squares, and how many they are
    bank = FilterBank()
    for batch in batches(clips, batch_size, seconds):
        lengths.extend(len(waveform) / SAMPLE_RATE for waveform in batch.waveforms)
        read.extend(clips[position] for position in batch.positions)
        failures.extend(batch.failures)
        pieces = (piece for waveform in batch.waveforms for piece in _pieces(waveform))
        while some := list(islice(pieces, batch_size)):
            sums += _sums(bank, some)
        tick(len(batch.positions) + len(batch.failures))
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


def _pieces(waveform: np.ndarray) -> Iterator[Tensor]:
    """Parts of a waveform whose frames, together, are the frames of the whole.

    Each part loses its own mean instead of the whole's; since every frame loses its own mean
    besides, the features are the same.
    """
    for start in range(0, len(waveform) - WINDOW + 1, PIECE * SHIFT):
        yield torch.from_numpy(waveform[start : start + samples_of(PIECE)])


def _sums(bank: FilterBank, waveforms: list[Tensor]) -> np.ndarray:
    """(3,) float64: sum, sum of squares and number of the values in frames that are sound."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    with torch.inference_mode():
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        features, valid = bank(padded, lengths)
        values = features[sound(features, valid)[..., 0]].double()
        return np.array([values.sum().item(), values.square().sum().item(), values.numel()])


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
