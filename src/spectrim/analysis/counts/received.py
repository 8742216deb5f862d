"""The attention that retained patches receive against pruned ones, where they part."""

from __future__ import annotations

import numpy as np

from ...metrics.jackknife import GROUPS, Estimate, add_to, estimate
from .batch import Look


class Received:
    """Attention received in the block of each stage, by patches that it keeps and drops.

    `sums`: (groups, stages, 2, 2): kept and dropped; the sum of their attention, and how many
    they are. A stage at the input has no attention, and one that drops nothing nothing to
    compare: they stay zero.
    """

    def __init__(self, stages: int) -> None:
        self.sums = np.zeros((GROUPS, stages, 2, 2))

    def add(self, stage: int, look: Look, received: np.ndarray, kept: np.ndarray) -> None:
        """Add a batch.

        Args:
            received: (clips, arriving) attention, eq. 2b (AST) or 2a (AudioMAE).
            kept: (clips, arriving) bool.
        """
        for at, those in enumerate((kept, ~kept)):
            sums = np.stack([(received * those).sum(1), those.sum(1)], 1)
            add_to(self.sums[:, stage, at], look.groups, sums)

    def means(self) -> Estimate:
        """(stages, 2) mean attention that a kept and a dropped patch receives."""
        return estimate(self.sums, lambda n: n[..., 0] / n[..., 1])

    def ratio(self) -> Estimate:
        """(stages,) how many times as much a kept patch receives as a dropped one."""
        return estimate(self.sums, _ratio)

    def share(self) -> Estimate:
        """(stages,) of the attention that all arriving patches receive, what the kept ones do."""
        return estimate(self.sums, lambda n: n[:, 0, 0] / n[:, :, 0].sum(1))


def _ratio(sums: np.ndarray) -> np.ndarray:
    mean = sums[..., 0] / sums[..., 1]
    return mean[:, 0] / mean[:, 1]
