"""Batches of waveforms that are decoded while the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio.constants import SAMPLE_RATE
from ..common.errors import SpectrimError
from .cache import CacheError, Waveforms
from .clip import Clip


@dataclass(frozen=True)
class Batch:
    """Clips that could be read, with their positions in the list and their waveforms.

    `waveforms`: (samples,) float32 each. `failures`: positions and messages of clips
    that could not be read.
    """

    positions: list[int]
    waveforms: list[np.ndarray]
    failures: list[tuple[int, str]]


def batches(
    clips: Sequence[Clip],
    size: int,
    seconds: float | None = None,
    workers: int = 2,
    cache: Path | None = None,
    rate: int = SAMPLE_RATE,
) -> Iterator[Batch]:
    """Decode clips in order, one batch ahead.

    Args:
        size: clips per batch.
        seconds: decode at most this much of each clip.
        workers: number of decoding threads.
        cache: folder of decoded waveforms, see `Waveforms`.
        rate: sample rate in Hz.
    """
    waveforms = Waveforms(clips, cache, seconds, rate)

    def decode(position: int) -> np.ndarray | SpectrimError:
        try:
            return waveforms[position]
        except CacheError:
            raise
        except SpectrimError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(clips), size)

        def submit(start: int) -> list[Future[np.ndarray | SpectrimError]]:
            stop = min(start + size, len(clips))
            return [pool.submit(decode, position) for position in range(start, stop)]

        try:
            ahead = submit(0)
            for start in starts:
                current = [future.result() for future in ahead]
                ahead = submit(start + size)
                yield _batch(start, current)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _batch(start: int, decoded: list[np.ndarray | SpectrimError]) -> Batch:
    batch = Batch([], [], [])
    for position, result in enumerate(decoded, start):
        if isinstance(result, SpectrimError):
            batch.failures.append((position, str(result)))
        else:
            batch.positions.append(position)
            batch.waveforms.append(result)
    return batch
