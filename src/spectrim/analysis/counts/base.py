"""Sums over clips with standard errors, and statistics of a batch that need no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...metrics.jackknife import GROUPS, Estimate, estimate
from ..clusters import Clusters
from ..patch_statistics import Patches


class GroupedSums:
    """Sums over clips, one for each jackknife group: what all counts with an error build on.

    Attributes:
        sums: (groups, *shape).
    """

    def __init__(self, *shape: int, dtype: type = np.int64) -> None:
        self.sums: np.ndarray = np.zeros((GROUPS, *shape), dtype)

    def accumulate(self, index: tuple[Any, ...], values: np.ndarray | int) -> None:
        """Add values at an index into `sums` that begins with the group of each value.

        An index may occur several times; each value is added.
        """
        np.add.at(self.sums, index, values)

    def estimate(self, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """A statistic of the sums, without their group axis, and its standard error."""
        return estimate(self.sums, statistic)


@dataclass(frozen=True)
class BatchStats:
    """A batch of clips in the order of a view: index = time column * rows + frequency row.

    Attributes:
        patches: mean and standard deviation of each patch.
        ranks: (2, clips, patches) cluster of the mean and of the standard deviation, from 0.
        groups: (clips,) the jackknife group of each clip.
    """

    patches: Patches
    ranks: np.ndarray
    groups: np.ndarray

    @classmethod
    def ranked(
        cls, patches: Patches, clusters: tuple[Clusters, ...], groups: np.ndarray
    ) -> BatchStats:
        """Rank the patches of a batch by the clusters of their mean and standard deviation."""
        pairs = zip(clusters, patches.values, strict=True)
        return cls(patches, np.stack([c.rank(values) for c, values in pairs]), groups)
