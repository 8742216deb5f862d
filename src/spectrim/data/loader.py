"""Training batches in an order that any restart repeats, their clips decoded on the device."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..audio.constants import MELS
from ..common.errors import SpectrimError
from ..common.splitmix import numbers
from .augment import Augmentation, Draws
from .clip_bank import ClipBank, clip_bank, copied_to, decoded

ORDER, DRAWS = 0, 1  # streams of random numbers
AHEAD = 2  # batches
Order = TypeVar("Order", np.ndarray, Tensor)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainBatch:
    """The part of a batch that one process computes; tensors are on the device.

    Attributes:
        positions: (batch,) of the clips in the list.
        followers: (batch, any) positions of clips that follow each clip in the window.
        weights: (batch,) weights in the loss: 1 / clips of the whole batch; 0 for a clip that
            could not be read, and for a filler clip of a process that has no clip.
        clips: number in the whole batch, over all processes.
        bank: holds the clips; draws: random numbers of this epoch, for every clip of the list.
    """

    positions: Tensor
    followers: Tensor
    weights: Tensor
    clips: int
    bank: ClipBank
    draws: Draws

    def micro_batches(self, size: int | None) -> Iterator[TrainBatch]:
        """Batches of at most `size` clips, whose losses add up to the loss of the batch."""
        size = size or len(self.positions)
        pieces = (values.split(size) for values in (self.positions, self.followers, self.weights))
        for positions, followers, weights in zip(*pieces, strict=True):
            yield replace(self, positions=positions, followers=followers, weights=weights)


@dataclass
class TrainLoader:
    """Batches of an epoch, in an order that depends on seed and epoch only.

    Random draws for a clip depend on seed, epoch and the clip only. Clips are decoded once
    (`hold`), or by threads while earlier batches are computed; both give the same batches.

    Args:
        load: from position to (samples,) float32.
        count: number of clips.
        augment: draws the random numbers.
        frames, mels: of the features.
        join: samples of a window that is filled with further random clips; 0: no clip follows.
        shortest: samples of the shortest readable clip.
        subtract_mean: see `clip_bank`.
        batch_size: clips in total, over all processes.
        rank, world: index of this process and number of processes.
        workers: threads.
        device: of the batches.
        held: all clips, decoded.
    """

    load: Callable[[int], np.ndarray]
    count: int
    augment: Augmentation
    frames: int
    batch_size: int
    seed: int
    join: int = 0
    shortest: int = 400
    mels: int = MELS
    subtract_mean: bool = True
    rank: int = 0
    world: int = 1
    workers: int = 2
    device: torch.device = CPU
    held: ClipBank | None = field(default=None, init=False)

    @property
    def steps(self) -> int:
        """Batches per epoch; the last may be smaller."""
        return math.ceil(self.count / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(clips,) positions in the order of an epoch."""
        return np.random.default_rng((self.seed, epoch, ORDER)).permutation(self.count)

    def hold(self, clips: Iterable[np.ndarray | SpectrimError] | None = None) -> None:
        """Hold all clips on the device, as `decode_clips` returns them; None: load them."""
        with ThreadPoolExecutor(self.workers) as pool:
            waveforms = decoded(self.load, range(self.count), pool) if clips is None else clips
            self.held = clip_bank(waveforms, self.device, subtract_mean=self.subtract_mean)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[TrainBatch]:
        """Batches of an epoch, from step `first` on."""
        rng = np.random.default_rng((self.seed, epoch, DRAWS))
        draws = self.augment.draw(self.count, self.frames, rng, self.mels)
        order = self.order(epoch)
        batches = self._held_batches if self.held else self._decoded_batches
        yield from batches(order, draws, first)

    def _held_batches(self, order: np.ndarray, draws: Draws, first: int) -> Iterator[TrainBatch]:
        assert self.held is not None
        lengths = self.held.lengths.cpu().numpy()
        every = np.arange(self.count)
        followers = copied_to(
            torch.from_numpy(self._followers(every, draws, lengths.__getitem__)), self.device
        )
        positions = copied_to(torch.from_numpy(order), self.device)
        draws = draws.to(self.device)
        for step in range(first, self.steps):
            mine, clips, counts = self._share(positions, step)
            weights = (self.held.lengths[mine] > 0) * (counts / clips)
            yield TrainBatch(mine, followers[mine], weights, clips, self.held, draws)

    def _decoded_batches(self, order: np.ndarray, draws: Draws, first: int) -> Iterator[TrainBatch]:
        on_device = draws.to(self.device)

        def batch(step: int, pool: ThreadPoolExecutor) -> TrainBatch:
            mine, clips, counts = self._share(order, step)
            clip_of: dict[int, np.ndarray | SpectrimError] = {}

            def lengths(positions: np.ndarray) -> np.ndarray:
                new = sorted(set(positions.tolist()) - clip_of.keys())
                clip_of.update(zip(new, decoded(self.load, new, pool), strict=True))
                known = (clip_of[position] for position in positions.tolist())
                return np.array([0 if isinstance(c, SpectrimError) else len(c) for c in known])

            lengths(np.concatenate([mine, draws.partner.numpy()[mine]]))
            followers = self._followers(mine, draws, lengths)
            held = np.array(sorted(clip_of))
            chosen = (clip_of[position] for position in held)
            bank = clip_bank(chosen, self.device, held, self.subtract_mean)
            positions = copied_to(torch.from_numpy(mine), self.device)
            weights = (bank.lengths[bank.rows(positions)] > 0) * (counts / clips)
            after = copied_to(torch.from_numpy(followers), self.device)
            return TrainBatch(positions, after, weights, clips, bank, on_device)

        with ThreadPoolExecutor(self.workers) as pool, ThreadPoolExecutor(1) as assembler:
            try:
                ahead = range(first, min(first + AHEAD, self.steps))
                queue = deque(assembler.submit(batch, step, pool) for step in ahead)
                for step in range(first, self.steps):
                    current = queue.popleft().result()
                    if step + AHEAD < self.steps:
                        queue.append(assembler.submit(batch, step + AHEAD, pool))
                    yield current
            finally:
                for executor in (assembler, pool):
                    executor.shutdown(wait=False, cancel_futures=True)

    def _share(self, order: Order, step: int) -> tuple[Order, int, bool]:
        """Positions of this process in a step, clips of the whole batch, and whether they count."""
        batch = order[step * self.batch_size : (step + 1) * self.batch_size]
        share = batch[self.rank :: self.world]
        # A process without a clip computes a filler clip of weight 0.
        return (share, len(batch), True) if len(share) else (batch[:1], len(batch), False)

    def _followers(
        self, positions: np.ndarray, draws: Draws, lengths: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """(clips, any) positions of the clips that follow each clip until the window is full.

        Args:
            lengths: from positions to the samples of the clips; 0 for unreadable ones.
        """
        columns: list[np.ndarray] = []
        filled = lengths(positions) if self.join else np.full(len(positions), 0)
        # A readable clip is at least `shortest` samples long. Twice as many draws as windows leave
        # room for unreadable ones.
        while len(columns) < 2 * self.join // self.shortest and (filled < self.join).any():
            bits = numbers(draws.key[positions], len(columns) + 1)[:, -1].numpy()
            # A row that is full gets its own clip, which starts after the end of the window.
            column = np.where(filled < self.join, (bits >> 1) % self.count, positions)
            filled = filled + lengths(column)
            columns.append(column)
        return np.stack(columns, 1) if columns else np.zeros((len(positions), 0), np.int64)
