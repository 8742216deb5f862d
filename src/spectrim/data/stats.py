"""Statistics of clips: number, length, classes, and the mean and std that normalise features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..audio.constants import MELS
from ..audio.decode import blocks, check_length, sound_name
from ..audio.front_ends import KALDI, FrontEnd
from ..audio.log_mel import LogMel
from ..common.errors import SpectrimError
from .clip import Clip

PIECE = 1000  # frames per call of the filter bank: 10 s


@dataclass(frozen=True)
class Stats:
    """Statistics of the clips that could be read.

    Attributes:
        clips: number of clips.
        seconds: total length.
        classes: number of clips by label, sorted; a clip counts for each of its labels.
        splits, folds: number of clips by split and by fold, sorted; empty if there are none.
        shortest, median, p95, longest: lengths in seconds; p95 is the 95th percentile.
        mean, std: of the log-mel features, over all bins of all frames that contain sound.
        failures: position and message of each clip that could not be read.
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


def measure_clips(
    clips: Sequence[Clip],
    seconds: float | None = None,
    workers: int = 2,
    audio: FrontEnd = KALDI,
    mels: int = MELS,
    tick: Callable[[int], object] = lambda done: None,
) -> Stats:
    """Decode clips and measure them, ten seconds at a time.

    `mean` and `std` (of the population, summed in float64) count only frames that contain sound.
    They differ from the paper's, which include padding: padding pulls the mean towards its own
    value, more so for short clips. Digital silence within a clip counts as sound, at Kaldi's floor
    of -15.94.

    Args:
        seconds: at most this much of each clip; lengths are those of the decoded parts.
        audio, mels: front end and number of mel bins, of which mean and std are measured.
        workers: number of threads; each measures one clip at a time.
        tick: called with 1 after each clip.

    Raises:
        SpectrimError: there are no clips, or none could be read.
    """
    lengths: list[float] = []
    failures: list[tuple[int, str]] = []
    read: list[Clip] = []
    sums = np.zeros(3)  # sum of the values, sum of their squares, number of values
    bank = audio.filter_bank(mels)

    def measured(clip: Clip) -> tuple[float, np.ndarray] | SpectrimError:
        try:
            return _measured(audio, bank, clip, seconds)
        except SpectrimError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        try:
            results = pool.map(measured, clips)
            for position, (clip, result) in enumerate(zip(clips, results, strict=True)):
                if isinstance(result, SpectrimError):
                    failures.append((position, str(result)))
                else:
                    read.append(clip)
                    lengths.append(result[0])
                    sums += result[1]
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


def _measured(
    audio: FrontEnd, bank: LogMel, clip: Clip, seconds: float | None
) -> tuple[float, np.ndarray]:
    """Seconds of a clip, and (3,) sums over it, piece by piece.

    Together, the frames of the pieces are the frames of the clip. Kaldi's filter bank subtracts the
    mean of a piece instead of the clip's, but it also subtracts the mean of each frame, so the
    features are the same. Centred windows at the beginning of a piece reach beyond it: one or two
    frames in a thousand see the piece mirrored instead of the sound before it.
    """
    pending, total, sums, rate = np.zeros(0, np.float32), 0, np.zeros(3), audio.sample_rate
    needed, step = audio.num_samples(PIECE), PIECE * audio.hop
    for block in blocks(clip.path, clip.start, clip.end_within(seconds), clip.channel, rate):
        pending = np.concatenate([pending, block])
        total += len(block)
        while len(pending) >= needed:
            sums += _sums(bank, pending[:needed], PIECE)
            pending = pending[step:]
    check_length(total, sound_name(clip.path), rate)
    rest = audio.num_frames(len(pending))
    return total / rate, sums + (_sums(bank, pending, rest) if rest else 0)


def _sums(bank: LogMel, waveform: np.ndarray, frames: int) -> np.ndarray:
    """(3,) float64: sum, sum of squares and number of the values in the first frames."""
    with torch.inference_mode():
        features, _ = bank(torch.from_numpy(waveform)[None])
        values = features[:, :frames].double()
        return np.array([values.sum().item(), values.square().sum().item(), values.numel()])


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
