"""Attention received: its tau against the clusters (Figure 4), and kept against dropped patches."""

from __future__ import annotations

import numpy as np

from ...metrics.jackknife import Estimate
from ..patch_statistics import STATISTICS
from .base import BatchStats, GroupedSums
from .kendall import DEFINITIONS, pair_counts

PATCHES = ("all", "sound")  # which patches are counted; "sound" leaves out padding


class TauCounts(GroupedSums):
    """Pairs by block, statistic and kind of patches; see `kendall.pair_counts`.

    `sums`: (groups, blocks, 2 statistics, 2 of `PATCHES`, 5) int64.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(depth, len(STATISTICS), len(PATCHES), 5)

    def add(
        self,
        block: int,
        stats: BatchStats,
        arrived: np.ndarray,
        scores: np.ndarray,
        present: np.ndarray | None = None,
    ) -> None:
        """Count a block of a batch.

        Args:
            arrived: (clips, arriving) index in the view of each patch that reaches the block.
            scores: (clips, arriving) the attention that they receive there.
            present: (clips, arriving) bool, if clips have absent tokens.
        """
        present = np.ones_like(arrived, bool) if present is None else present
        sound = np.take_along_axis(stats.patches.sound, arrived, 1)
        for statistic, all_ranks in enumerate(stats.ranks):
            ranks = np.take_along_axis(all_ranks, arrived, 1)
            for index, counted in enumerate((present, sound & present)):
                counts = pair_counts(ranks, scores, counted)
                self.accumulate((stats.groups, block, statistic, index), counts)

    def tau(self, definition: str) -> Estimate:
        """(blocks, 2 statistics, 2 of `PATCHES`) tau by a name in `kendall.DEFINITIONS`."""
        return self.estimate(DEFINITIONS[definition])

    def by_depth(self, definition: str) -> Estimate:
        """(3, 2 statistics, 2 of `PATCHES`) means of tau over blocks.

        They are the mean over the first half of the blocks, the mean over the second half, and
        the second less the first.
        """

        def halves(sums: np.ndarray) -> np.ndarray:
            tau = DEFINITIONS[definition](sums)
            early, late = tau[: len(tau) // 2].mean(0), tau[len(tau) // 2 :].mean(0)
            return np.stack([early, late, late - early])

        return self.estimate(halves)


class ReceivedAttention(GroupedSums):
    """Attention received in the block of each stage, by the patches that it keeps and drops.

    `sums`: (groups, stages, 2: kept and dropped, 2: sum of attention and number of patches). A
    stage at the input has no attention, and a stage that drops nothing compares nothing: their
    sums stay zero.
    """

    def __init__(self, stages: int) -> None:
        super().__init__(stages, 2, 2, dtype=float)

    def add(
        self,
        stage: int,
        stats: BatchStats,
        received: np.ndarray,
        kept: np.ndarray,
        present: np.ndarray,
    ) -> None:
        """Add a batch.

        Args:
            received: (clips, arriving) attention, eq. 2b (AST) or 2a (AudioMAE).
            kept: (clips, arriving) bool.
            present: (clips, arriving) bool; absent tokens count as neither kept nor dropped.
        """
        for side, chosen in enumerate((kept & present, ~kept & present)):
            sums = np.stack([(received * chosen).sum(1), chosen.sum(1)], 1)
            self.accumulate((stats.groups, stage, side), sums)

    def means(self) -> Estimate:
        """(stages, 2) mean attention that a kept and a dropped patch receives."""
        return self.estimate(_means)

    def ratio(self) -> Estimate:
        """(stages,) mean attention of a kept patch over that of a dropped one."""
        return self.estimate(lambda sums: _means(sums)[:, 0] / _means(sums)[:, 1])

    def share(self) -> Estimate:
        """(stages,) share of the attention that goes to the kept patches."""
        return self.estimate(lambda sums: sums[:, 0, 0] / sums[:, :, 0].sum(1))


def _means(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])
