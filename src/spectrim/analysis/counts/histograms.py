"""Histograms of patch statistics, counted as the clips come; the ranges are known before."""

from __future__ import annotations

import numpy as np

from ..clusters import Clusters
from .batch import Look

BINS = 20  # a side, as the paper's Figure 6
FINE = 100  # of one statistic alone, Figure 5
SHOWN = 0.75  # of the range of the std, which the paper's axis shows


def edges_of(clusters: Clusters, bins: int) -> np.ndarray:
    """(bins + 1,) equal bins over the range of a statistic."""
    low, high = clusters.low, clusters.high
    # One value alone has no range: half a unit to either side, as NumPy's histogram does.
    return np.linspace(*((low, high) if high > low else (low - 0.5, high + 0.5)), bins + 1)


class Single:
    """Figure 5: one statistic of all input patches; `counts` (2: padding, sound; bins)."""

    def __init__(self, clusters: Clusters) -> None:
        self.edges = edges_of(clusters, FINE)
        self.counts = np.zeros((2, FINE), np.int64)

    def add(self, values: np.ndarray, sound: np.ndarray) -> None:
        """Count (clips, patches) values, of which `sound` are no padding."""
        for at, those in enumerate((~sound, sound)):
            self.counts[at] += np.histogram(_inside(values[those], self.edges), self.edges)[0]


class Joint:
    """Figure 6: (mean, std) of the patches before any pruning and after each stage.

    `counts`: (1 + stages, 2: padding, sound; 20 of the mean, 20 of the std).
    """

    def __init__(self, clusters: tuple[Clusters, ...], stages: int) -> None:
        self.edges = tuple(edges_of(c, BINS) for c in clusters)
        self.counts = np.zeros((stages + 1, 2, BINS, BINS), np.int64)

    def add(self, place: int, look: Look, stays: np.ndarray) -> None:
        """Count the (clips, patches) bool patches that stand after stage `place`."""
        mean, std = look.patches.values
        for at, kind in enumerate((~look.patches.sound, look.patches.sound)):
            those = stays & kind
            inside = [_inside(x[those], e) for x, e in zip((mean, std), self.edges, strict=True)]
            counts, _, _ = np.histogram2d(inside[0], inside[1], self.edges)
            self.counts[place, at] += counts.astype(np.int64)

    def density(self, place: int, sound_only: bool) -> np.ndarray:
        """(20, 20) log1p of the density, as the paper draws it; zero where there is no patch."""
        counts = self.counts[place, 1] if sound_only else self.counts[place].sum(0)
        area = np.outer(*(np.diff(edges) for edges in self.edges))
        return np.log1p(counts / (max(1, counts.sum()) * area))


def _inside(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Values within the range: the second pass may round otherwise than the first, on a GPU."""
    return np.clip(values, edges[0], edges[-1])
