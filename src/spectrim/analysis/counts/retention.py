"""Which patches are kept: by cluster, padding or sound, time and frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...metrics.jackknife import Estimate, estimate
from ..clusters import COUNT, HIGH, LOW
from ..patch_statistics import View
from .base import BatchStats, GroupedSums

GROUPINGS = ("mean", "std", "row", "column")
"""Kinds of bins: cluster of the mean, cluster of the std, frequency row, time column."""


class Retention(GroupedSums):
    """Patches before any pruning and after each stage.

    `sums`: (groups, 1 + stages, bins of all groupings, 2: padding and sound) int64. Index 0 of the
    second axis is the input. `by` selects the bins of one grouping.
    """

    def __init__(self, view: View, stages: int) -> None:
        grid = view.grid
        sizes = (COUNT, COUNT, grid.rows, grid.columns)  # in the order of KINDS
        super().__init__(stages + 1, sum(sizes), 2)
        ends = np.cumsum(sizes).tolist()
        self._bins = {
            grouping: slice(end - size, end)
            for grouping, end, size in zip(GROUPINGS, ends, sizes, strict=True)
        }
        self._row = np.tile(np.arange(grid.rows), grid.columns)
        self._column = np.repeat(np.arange(grid.columns), grid.rows)

    def add(self, stage: int, stats: BatchStats, kept: np.ndarray) -> None:
        """Count the patches of a batch that are left after a stage, from 1; 0 is the input.

        Args:
            kept: (clips, patches) bool in the order of the view.
        """
        clip, patch = np.nonzero(kept)
        sound = stats.patches.sound[clip, patch].astype(int)
        ranks = [ranks[clip, patch] for ranks in stats.ranks]
        for grouping, bins in zip(
            GROUPINGS, (*ranks, self._row[patch], self._column[patch]), strict=True
        ):
            index = (stats.groups[clip], stage, self._bins[grouping].start + bins, sound)
            self.accumulate(index, 1)

    def by(self, grouping: str) -> np.ndarray:
        """(groups, 1 + stages, bins of the grouping, 2: padding and sound)."""
        return self.sums[:, :, self._bins[grouping]]

    @property
    def all_patches(self) -> Shares:
        """Shares of all patches, including padding."""
        return Shares({grouping: self.by(grouping).sum(-1) for grouping in GROUPINGS})

    @property
    def sound_patches(self) -> Shares:
        """Shares of the patches that contain sound."""
        return Shares({grouping: self.by(grouping)[..., 1] for grouping in GROUPINGS})

    def padding(self) -> Estimate:
        """(stages, 2) fraction of padding and of sound patches left; NaN if there are none."""
        return estimate(self.by("mean").sum(2), _left)

    def padding_share(self) -> Estimate:
        """(1 + stages,) share of padding among the patches of the input and after each stage."""
        return estimate(self.by("mean").sum(2), lambda n: n[:, 0] / n.sum(1))

    @property
    def has_padding(self) -> bool:
        """Whether any patch of the input is padding."""
        return bool(self.by("mean")[:, 0, :, 0].any())


@dataclass(frozen=True)
class Shares:
    """Numbers of patches by grouping, and their shares.

    Attributes:
        counts: by grouping, (groups, 1 + stages, bins).
    """

    counts: dict[str, np.ndarray]

    def kept(self, grouping: str) -> Estimate:
        """(stages, bins) share of the input's patches left after each stage."""
        return estimate(self.counts[grouping], _left)

    def of_input(self, grouping: str) -> Estimate:
        """(bins,) share that each bin has of the input's patches."""
        return estimate(self.counts[grouping], lambda n: n[0] / n[0].sum())

    def cluster_pair(self, name: str) -> Estimate:
        """(stages,) share of the patches of L ("low") or H ("high") of the mean left."""
        ranks = list({"low": LOW, "high": HIGH}[name])
        return estimate(self.counts["mean"][:, :, ranks].sum(2), _left)

    def low_ratio(self, other: Shares) -> Estimate:
        """(stages,) patches of C1 and C2 kept here, as a multiple of those kept by `other`.

        The paper compares AudioMAE (here) with AST (`other`): about 1.9 on AS-20K and ESC-50.
        Both must have seen the same clips in the same groups, and prune in as many stages.
        """
        low = [shares.counts["mean"][:, 1:, list(LOW)].sum(2) for shares in (self, other)]
        return estimate(np.stack(low, 1), lambda n: n[0] / n[1])


def _left(counts: np.ndarray) -> np.ndarray:
    """After each stage, relative to the input."""
    return np.asarray(counts[1:] / counts[0])
