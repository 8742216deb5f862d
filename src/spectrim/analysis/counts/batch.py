"""What the second pass knows of a batch before any model runs on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..clusters import Clusters
from ..patches import Patches


@dataclass(frozen=True)
class Look:
    """A batch of clips in the order of a view: index = time column * rows + frequency row.

    Attributes:
        patches: their statistics.
        ranks: (2, clips, patches) cluster of the mean and of the standard deviation, from 0.
        groups: (clips,) the jackknife group of each clip.
    """

    patches: Patches
    ranks: np.ndarray
    groups: np.ndarray

    @classmethod
    def at(cls, patches: Patches, clusters: tuple[Clusters, ...], groups: np.ndarray) -> Look:
        """Rank the patches of a batch."""
        pairs = zip(clusters, patches.values, strict=True)
        return cls(patches, np.stack([c.rank(values) for c, values in pairs]), groups)

    @property
    def everything(self) -> np.ndarray:
        """(clips, patches) bool, all True: what is there before anything is dropped."""
        return np.ones_like(self.patches.sound)
