"""Histograms of patch statistics, counted clip by clip; the first pass has found the ranges."""

from __future__ import annotations

import numpy as np

from ..clusters import Clusters
from .base import BatchStats

BINS = 20  # along each axis of the paper's Figure 6
FINE_BINS = 100  # of one statistic, Figure 5
STD_SHOWN = 0.75  # share of the std's range that the paper's axis shows


class Histogram:
    """Figure 5: one statistic of all input patches; `counts` (2: padding, sound; bins)."""

    def __init__(self, clusters: Clusters) -> None:
        self.edges = _edges(clusters, FINE_BINS)
        self.counts = np.zeros((2, FINE_BINS), np.int64)

    def add(self, values: np.ndarray, sound: np.ndarray) -> None:
        """Count (clips, patches) values; `sound` is False where they are padding."""
        for row, chosen in enumerate((~sound, sound)):
            self.counts[row] += np.histogram(_inside(values[chosen], self.edges), self.edges)[0]


class JointHistogram:
    """Figure 6: (mean, std) of the patches before any pruning and after each stage.

    `counts`: (1 + stages, 2: padding, sound; 20 of the mean, 20 of the std).
    """

    def __init__(self, clusters: tuple[Clusters, ...], stages: int) -> None:
        self.edges = tuple(_edges(c, BINS) for c in clusters)
        self.counts = np.zeros((stages + 1, 2, BINS, BINS), np.int64)

    def add(self, stage: int, stats: BatchStats, kept: np.ndarray) -> None:
        """Count the (clips, patches) bool patches left after a stage, from 1; 0 is the input."""
        sound = stats.patches.sound
        for row, chosen in enumerate((kept & ~sound, kept & sound)):
            mean, std = (
                _inside(values[chosen], edges)
                for values, edges in zip(stats.patches.values, self.edges, strict=True)
            )
            counts, _, _ = np.histogram2d(mean, std, self.edges)
            self.counts[stage, row] += counts.astype(np.int64)

    def log_density(self, counts: np.ndarray) -> np.ndarray:
        """(20, 20) counts to log(1 + density), as the paper draws it; zero without a patch."""
        area = np.outer(*(np.diff(edges) for edges in self.edges))
        return np.asarray(np.log1p(counts / (max(1, counts.sum()) * area)))


def _edges(clusters: Clusters, bins: int) -> np.ndarray:
    """(bins + 1,) equal bins over the range of a statistic."""
    low, high = clusters.low, clusters.high
    # A single value has no range: take half a unit to either side, as NumPy's histogram does.
    return np.linspace(*((low, high) if high > low else (low - 0.5, high + 0.5)), bins + 1)


def _inside(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Clip to the range: on a GPU the second pass may round differently from the first."""
    return np.clip(values, edges[0], edges[-1])
