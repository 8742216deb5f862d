"""Batches of waveforms, decoded ahead of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..audio.decode import read
from ..common.errors import SpectrimError
from .manifest import Clip


@dataclass(frozen=True)
class Batch:
    """Clips that could be read, with their positions in the list and their waveforms.

    `waveforms`: (samples,) float32 at 16 kHz each. `failures`: what could not be read here.
    """

    positions: list[int]
    waveforms: list[np.ndarray]
    failures: list[tuple[int, str]]


def batches(
    clips: Sequence[Clip], size: int, seconds: float | None = None, workers: int = 2
) -> Iterator[Batch]:
    """Decode clips in order, one batch ahead; a clip that cannot be read is in `failures`.

    Args:
        size: clips a batch.
        seconds: decode no more than this much of each clip.
        workers: decoding threads.
    """

    def decode(clip: Clip) -> np.ndarray | SpectrimError:
        end = clip.end
        if seconds is not None:
            limit = (clip.start or 0.0) + seconds
            end = limit if end is None else min(end, limit)
        try:
            return read(clip.path, clip.start, end)
        except SpectrimError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(clips), size)

        def submit(start: int) -> list[Future[np.ndarray | SpectrimError]]:
            return [pool.submit(decode, clip) for clip in clips[start : start + size]]

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
