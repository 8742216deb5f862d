"""Which patches stay: by cluster, padding or sound, time and frequency."""

from __future__ import annotations

import numpy as np

from ...metrics.jackknife import GROUPS, Estimate, add_to, estimate
from ..clusters import COUNT, HIGH, LOW
from ..patches import STATISTICS, View
from .batch import Look

KINDS = ("mean", "std", "row", "column")
"""What patches are counted by: cluster of the mean, of the std, frequency row, time column."""


class Retention:
    """Patches before any pruning and after each stage.

    `sums[kind]`: (groups, 1 + stages, of that kind, 2) int64; place 0 of the second axis is the
    input, and the last axis tells padding (0) from sound (1).
    """

    def __init__(self, view: View, stages: int) -> None:
        grid = view.grid
        sizes = {"mean": COUNT, "std": COUNT, "row": grid.rows, "column": grid.columns}
        shape = (GROUPS, stages + 1)
        self.sums = {kind: np.zeros((*shape, sizes[kind], 2), np.int64) for kind in KINDS}
        self._row = np.tile(np.arange(grid.rows), grid.columns)
        self._column = np.repeat(np.arange(grid.columns), grid.rows)

    def add(self, place: int, look: Look, stays: np.ndarray) -> None:
        """Count the patches of a batch that stand after stage `place` (0: the input).

        Args:
            stays: (clips, patches) bool in the order of the view.
        """
        clip, patch = np.nonzero(stays)
        sound = look.patches.sound[clip, patch].astype(int)
        bins = {"row": self._row[patch], "column": self._column[patch]}
        for at, kind in enumerate(STATISTICS):
            bins[kind] = look.ranks[at][clip, patch]
        for kind, values in bins.items():
            add_to(self.sums[kind][:, place], (look.groups[clip], values, sound), 1)

    def shares(self, kind: str, sound_only: bool = False) -> Estimate:
        """(stages, of that kind) the share of the input's patches left after each stage."""
        return estimate(_padding_too(self.sums[kind], sound_only), lambda n: n[1:] / n[0])

    def sizes(self, kind: str, sound_only: bool = False) -> Estimate:
        """(of that kind,) the share that each has of the input's patches."""
        return estimate(_padding_too(self.sums[kind], sound_only), lambda n: n[0] / n[0].sum())

    def padding(self) -> Estimate:
        """(stages, 2) the share of padding and of sound patches left; NaN where none are."""
        return estimate(self.sums["mean"].sum(2), lambda n: n[1:] / n[0])

    def of_input_padding(self) -> Estimate:
        """(1 + stages,) the share of padding among the patches there."""
        return estimate(self.sums["mean"].sum(2), lambda n: n[:, 0] / n.sum(1))

    def cluster_pair(self, which: str, sound_only: bool = False) -> Estimate:
        """(stages,) the share of the patches of L ("low") or H ("high") left, of the mean."""
        ranks = list(LOW if which == "low" else HIGH)
        return estimate(
            _padding_too(self.sums["mean"], sound_only)[:, :, ranks].sum(2), lambda n: n[1:] / n[0]
        )


def low_ratio(one: Retention, other: Retention, sound_only: bool = False) -> Estimate:
    """(stages,) patches of C1 and C2 that `one` keeps, as a multiple of what `other` keeps.

    The paper's comparison of AudioMAE (`one`) with AST, about 1.9 on AS-20K and ESC-50. Both
    must have seen the same clips in the same groups, and prune in as many stages.
    """
    pair = [
        _padding_too(run.sums["mean"], sound_only)[:, 1:, list(LOW)].sum(2) for run in (one, other)
    ]
    return estimate(np.stack(pair, 1), lambda n: n[0] / n[1])


def _padding_too(sums: np.ndarray, sound_only: bool) -> np.ndarray:
    return sums[..., 1] if sound_only else sums.sum(-1)
