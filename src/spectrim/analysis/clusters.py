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
    """Intervals of a value, lowest first; C1 has rank 0.

    Attributes:
        centres: (clusters,) ascending.
        edges: (clusters - 1,) borders of neighbours, half-way between their centres.
        low, high: the smallest and the largest value of all.
    """

    centres: np.ndarray
    edges: np.ndarray
    low: float
    high: float

    @property
    def count(self) -> int:
        """Number of clusters: 5, or fewer where there are fewer values."""
        return len(self.centres)

    @property
    def is_complete(self) -> bool:
        """Whether there are all five clusters, as L and H require."""
        return self.count == COUNT

    def rank(self, values: np.ndarray) -> np.ndarray:
        """The rank of the nearest centre, any shape, from 0."""
        return np.searchsorted(self.edges, values, side="left")

    def ranges(self) -> list[tuple[float, float]]:
        """(from, to) of each cluster."""
        borders = [self.low, *self.edges.tolist(), self.high]
        return list(itertools.pairwise(borders))


def fit_clusters(sample: np.ndarray, low: float, high: float, name: str) -> Clusters:
    """Five K-means clusters of (n,) values, n at least 1.

    Where there are fewer different values than clusters (clips of silence), each value is a
    cluster, and a `SpectrimNotice` says so.

    Args:
        sample: of the values.
        low, high: range of all values, which may exceed the range of the sample.
        name: of the values, in the notice.
    """
    values = np.round(np.asarray(sample, float), 6)  # equal patches differ by rounding below 1e-6
    distinct = np.unique(values)
    if len(distinct) < COUNT:
        text = (
            f"{name}: {len(distinct)} different value{'s' * (len(distinct) != 1)} among the "
            f"patches, fewer than {COUNT} clusters. Each value is a cluster; L and H are left out."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
        centres = distinct
    else:
        kmeans = KMeans(COUNT, n_init=RESTARTS, random_state=KMEANS_SEED)
        centres = np.unique(kmeans.fit(values[:, None]).cluster_centers_[:, 0])
    return Clusters(centres, (centres[:-1] + centres[1:]) / 2, float(low), float(high))


class PatchSample:
    """A uniform random sample of fixed size from a stream of patches of unknown length.

    Every row draws a key, and the rows of the smallest keys stay (Efraimidis and Spirakis 2006
    with equal weights). Keys are drawn in the order of the stream, so the sample does not depend
    on the batch size.
    """

    def __init__(self, size: int, width: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.seen = 0
        self.rows = np.zeros((0, width))  # at most `size` of them
        self._random = np.random.default_rng(seed)
        self._keys = np.zeros(0)

    def add(self, rows: np.ndarray) -> None:
        """Offer (n, width) rows."""
        self.seen += len(rows)
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        rows = np.concatenate([self.rows, rows])
        if len(keys) > self.size:
            smallest = np.argpartition(keys, self.size - 1)[: self.size]
            smallest.sort()
            keys, rows = keys[smallest], rows[smallest]
        self._keys, self.rows = keys, rows

    def record(self) -> dict[str, int]:
        """How the sample was drawn, as plain data."""
        return {"size": len(self.rows), "of": self.seen, "limit": self.size, "seed": self.seed}
