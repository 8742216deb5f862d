"""K-means clusters of a patch statistic, ordered by value (Figure 5, Table III)."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from ..common.errors import SpectrimNotice

COUNT = 5
KMEANS_SEED = 123  # the paper's random_state
RESTARTS = 10
LOW, HIGH = (0, 1), (3, 4)  # the paper's L (C1, C2) and H (C4, C5)


@dataclass(frozen=True)
class Clusters:
    """Intervals of a value, lowest first; C1 is rank 0.

    Attributes:
        centres: (clusters,) ascending.
        edges: (clusters - 1,) what parts neighbours, half-way between their centres.
        low, high: the smallest and the largest value of all.
    """

    centres: np.ndarray
    edges: np.ndarray
    low: float
    high: float

    @property
    def count(self) -> int:
        """How many there are: 5, or fewer where the values are."""
        return len(self.centres)

    @property
    def whole(self) -> bool:
        """Whether there are all five, without which L and H mean nothing."""
        return self.count == COUNT

    def rank(self, values: np.ndarray) -> np.ndarray:
        """The rank of the nearest centre, any shape, from 0."""
        return np.searchsorted(self.edges, values, side="left")

    def ranges(self) -> list[tuple[float, float]]:
        """(from, to) of each."""
        cuts = [self.low, *self.edges.tolist(), self.high]
        return list(itertools.pairwise(cuts))


def fit_clusters(sample: np.ndarray, low: float, high: float, what: str) -> Clusters:
    """Five K-means clusters of (n,) values, n at least 1.

    Where there are fewer different values than clusters (clips of silence), each value is a
    cluster of its own, and a `SpectrimNotice` says so.

    Args:
        sample: of the values.
        low, high: range of all values, which the sample may not reach.
        what: how the notice calls the values.
    """
    values = np.round(np.asarray(sample, float), 6)  # below lies rounding of equal patches
    distinct = np.unique(values)
    if len(distinct) < COUNT:
        text = (
            f"{what}: {len(distinct)} different value{'s' * (len(distinct) != 1)} among the "
            f"patches, fewer than {COUNT} clusters; each is a cluster, and L and H are left out."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
        centres = distinct
    else:
        kmeans = KMeans(COUNT, n_init=RESTARTS, random_state=KMEANS_SEED)
        centres = np.unique(kmeans.fit(values[:, None]).cluster_centers_[:, 0])
    return Clusters(centres, (centres[:-1] + centres[1:]) / 2, float(low), float(high))
