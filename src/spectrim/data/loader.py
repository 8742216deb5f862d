"""Training batches, made ahead of the network by threads, the same however often one restarts."""

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
    """One training clip: its waveform, what it is made of, and what else was drawn for it.

    Attributes:
        failure: which file could not be read, and why: the clip's own, which is then `left_out`,
            or that of another one which was to be mixed or joined with it.
    """

    waveform: np.ndarray
    parts: list[tuple[int, float]]
    extra: Extra
    failure: str | None = None
    left_out: bool = False


@dataclass(frozen=True)
class TrainBatch(Generic[Extra]):
    """The part of a step's batch that one process computes.

    Attributes:
        items: one a clip.
        weights: of each clip in the loss: 1 / clips of the whole batch, or 0 for a clip that
            could not be read and for one that fills up a process which has none.
        clips: of the whole batch, over all processes.
    """

    items: list[Item[Extra]]
    weights: np.ndarray
    clips: int

    def parts(self, size: int | None) -> Iterator[TrainBatch[Extra]]:
        """Pieces of at most `size` clips, whose losses add up to the whole's."""
        size = size or len(self.items)
        for at in range(0, len(self.items), size):
            yield TrainBatch(self.items[at : at + size], self.weights[at : at + size], self.clips)


class TrainLoader(Generic[Extra]):
    """Batches of an epoch, in an order that only seed and epoch decide.

    What is drawn for a clip depends on seed, epoch and the clip alone.

    Args:
        load: position to (samples,) float32.
        count: of clips.
        augment: of waveforms.
        extra: what else is drawn for a clip, from (epoch, its generator).
        batch_size: in total, over all processes.
        rank, world: this process, and how many there are.
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
        """Batches an epoch; the last may be smaller."""
        return math.ceil(self.count / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(clips,) positions in the order of an epoch."""
        return np.random.default_rng((self.seed, epoch, ORDER)).permutation(self.count)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[TrainBatch[Extra]]:
        """Batches of an epoch from step `first` on."""
        order = self.order(epoch)
        with ThreadPoolExecutor(self.workers) as pool:
            queue: deque[tuple[list[Future[Item[Extra]]], int, bool]] = deque()

            def submit(step: int) -> None:
                whole = order[step * self.batch_size : (step + 1) * self.batch_size]
                own: Sequence[int] = whole[self.rank :: self.world].tolist()
                positions = own or [int(whole[0])]
                now = epoch + step / self.steps
                futures = [pool.submit(self._item, now, epoch, at) for at in positions]
                queue.append((futures, len(whole), bool(own)))

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
            return Item(self.augment.alone(self.load(position), rng), alone, extra, failure)
        except SpectrimError as error:
            return Item(np.zeros(16_000, np.float32), alone, extra, str(error), left_out=True)
