"""Training batches, prepared ahead by threads, and the same after any restart."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from ..common.errors import SpectrimError
from .augment import WaveformAugment
from .cache import CacheError

ORDER, ITEM = 0, 1  # streams of random numbers
AHEAD = 2  # batches
Extra = TypeVar("Extra")


class Item(NamedTuple, Generic[Extra]):
    """One training clip: its waveform, the clips mixed into it, and other random draws for it.

    Attributes:
        parts: positions and shares of the clips that the waveform is mixed from.
        failure: which file could not be read, and why. It is the file of the clip itself, which
            is then `left_out`, or of a clip that should be mixed or joined with it.
    """

    waveform: np.ndarray
    parts: list[tuple[int, float]]
    extra: Extra
    failure: str | None = None
    left_out: bool = False


@dataclass(frozen=True)
class TrainBatch(Generic[Extra]):
    """The part of a batch that one process computes.

    Attributes:
        items: one per clip.
        weights: (items,) weights in the loss: 1 / clips of the whole batch; 0 for a clip that
            could not be read, and for a filler clip of a process that has no clip.
        clips: number in the whole batch, over all processes.
    """

    items: list[Item[Extra]]
    weights: np.ndarray
    clips: int

    def parts(self, size: int | None) -> Iterator[TrainBatch[Extra]]:
        """Pieces of at most `size` clips, whose losses add up to the loss of the batch."""
        size = size or len(self.items)
        for start in range(0, len(self.items), size):
            piece = slice(start, start + size)
            yield TrainBatch(self.items[piece], self.weights[piece], self.clips)


class TrainLoader(Generic[Extra]):
    """Batches of an epoch, in an order that depends on seed and epoch only.

    Random draws for a clip depend on seed, epoch and the clip only.

    Args:
        load: from position to (samples,) float32.
        count: number of clips.
        augment: augmentation of waveforms.
        extra: from (fractional epoch, generator of the clip) to its other random draws.
        batch_size: clips in total, over all processes.
        rank, world: index of this process and number of processes.
        workers: threads.
    """

    def __init__(
        self,
        load: Callable[[int], np.ndarray],
        count: int,
        augment: WaveformAugment,
        extra: Callable[[float, np.random.Generator], Extra],
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
    ) -> None:
        self.load, self.count, self.augment, self.extra = load, count, augment, extra
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.workers = workers

    @property
    def steps(self) -> int:
        """Batches per epoch; the last may be smaller."""
        return math.ceil(self.count / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(clips,) positions in the order of an epoch."""
        return np.random.default_rng((self.seed, epoch, ORDER)).permutation(self.count)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[TrainBatch[Extra]]:
        """Batches of an epoch, from step `first` on."""
        order = self.order(epoch)
        with ThreadPoolExecutor(self.workers) as pool:
            queue: deque[tuple[list[Future[Item[Extra]]], int, bool]] = deque()

            def submit(step: int) -> None:
                batch = order[step * self.batch_size : (step + 1) * self.batch_size]
                share: Sequence[int] = batch[self.rank :: self.world].tolist()
                positions = share or [int(batch[0])]  # a filler clip of weight 0
                now = epoch + step / self.steps
                futures = [pool.submit(self._item, now, epoch, position) for position in positions]
                queue.append((futures, len(batch), bool(share)))

            try:
                for step in range(first, min(first + AHEAD, self.steps)):
                    submit(step)
                for step in range(first, self.steps):
                    futures, clips, counts = queue.popleft()
                    items = [future.result() for future in futures]
                    if step + AHEAD < self.steps:
                        submit(step + AHEAD)
                    weights = [float(counts and not item.left_out) / clips for item in items]
                    yield TrainBatch(items, np.array(weights, np.float32), clips)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _item(self, now: float, epoch: int, position: int) -> Item[Extra]:
        rng = np.random.default_rng((self.seed, epoch, ITEM, position))
        extra = self.extra(now, rng)
        try:
            waveform, parts = self.augment(self.load, position, self.count, rng)
        except CacheError:
            raise
        except SpectrimError as error:
            failure = str(error)
        else:
            return Item(waveform, parts, extra)
        alone = [(position, 1.0)]
        try:
            return Item(self.augment.roll_and_gain(self.load(position), rng), alone, extra, failure)
        except SpectrimError as error:
            return Item(np.zeros(16_000, np.float32), alone, extra, str(error), left_out=True)
