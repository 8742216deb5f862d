"""Figure 4: tau of the attention score against the clusters, block by block."""

from __future__ import annotations

import numpy as np

from ...metrics.jackknife import GROUPS, Estimate, add_to, estimate
from ..patches import STATISTICS
from .batch import Look
from .kendall import DEFINITIONS, pair_counts

PATCHES = ("all", "sound")  # of which patches pairs are counted; "sound" leaves out padding


class TauCounts:
    """Pairs by block, statistic and kind of patches; see `kendall.pair_counts`.

    `sums`: (groups, blocks, 2 statistics, 2 of `PATCHES`, 5) int64.
    """

    def __init__(self, depth: int) -> None:
        self.sums = np.zeros((GROUPS, depth, len(STATISTICS), len(PATCHES), 5), np.int64)

    def add(self, block: int, look: Look, here: np.ndarray, scores: np.ndarray) -> None:
        """Count a block of a batch.

        Args:
            here: (clips, arriving) the place in the view of each patch that reaches the block.
            scores: (clips, arriving) the attention that they receive there.
        """
        sound = np.take_along_axis(look.patches.sound, here, 1)
        for at, all_ranks in enumerate(look.ranks):
            ranks = np.take_along_axis(all_ranks, here, 1)
            for kind, present in enumerate((None, sound)):
                counts = pair_counts(ranks, scores, present)
                add_to(self.sums[:, block, at, kind], look.groups, counts)

    def tau(self, definition: str) -> Estimate:
        """(blocks, 2 statistics, 2 of `PATCHES`) tau by a name in `kendall.DEFINITIONS`."""
        return estimate(self.sums, DEFINITIONS[definition])

    def by_depth(self, definition: str) -> Estimate:
        """(3, 2 statistics, 2 of `PATCHES`): mean over the first half of the blocks, over the
        second half, and the second less the first."""

        def halves(sums: np.ndarray) -> np.ndarray:
            tau = DEFINITIONS[definition](sums)
            early, late = tau[: len(tau) // 2].mean(0), tau[len(tau) // 2 :].mean(0)
            return np.stack([early, late, late - early])

        return estimate(self.sums, halves)
