"""A uniform sample of fixed size from a stream of unknown length."""

from __future__ import annotations

import numpy as np


class Reservoir:
    """Keeps `size` rows of all that pass, each row with the same chance.

    Every row draws a key, and the rows of the smallest keys stay (Efraimidis and Spirakis 2006
    with equal weights). The keys come in the order of the stream, so that the sample does not
    depend on how the stream is cut into batches.
    """

    def __init__(self, size: int, width: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.seen = 0
        self._random = np.random.default_rng(seed)
        self._keys = np.zeros(0)
        self._rows = np.zeros((0, width))

    def add(self, rows: np.ndarray) -> None:
        """Offer (n, width) rows."""
        self.seen += len(rows)
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        rows = np.concatenate([self._rows, rows])
        if len(keys) > self.size:
            stay = np.argpartition(keys, self.size - 1)[: self.size]
            stay.sort()
            keys, rows = keys[stay], rows[stay]
        self._keys, self._rows = keys, rows

    @property
    def rows(self) -> np.ndarray:
        """(at most size, width) the sample."""
        return self._rows

    def record(self) -> dict[str, int]:
        """How the sample was drawn, as plain data."""
        return {"size": len(self._rows), "of": self.seen, "limit": self.size, "seed": self.seed}
