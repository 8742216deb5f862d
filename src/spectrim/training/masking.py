"""Which patches a training clip is reduced to before the first block."""

from __future__ import annotations

import numpy as np
import torch

from ..pruning.patches import PatchGrid


def token_mask(
    grid: PatchGrid, columns: float, rows: float, rng: np.random.Generator
) -> np.ndarray | None:
    """(patches,) bool: a random int(columns * T) time columns and int(rows * F) frequency rows.

    AudioMAE's 2-D masking for fine-tuning (arXiv 2207.06405); None where everything stays.
    """
    if columns >= 1 and rows >= 1:
        return None
    place = grid.locate(torch.arange(grid.count)).numpy()
    stays = np.ones(grid.count, bool)
    for axis, share, size in ((0, columns, grid.columns), (1, rows, grid.rows)):
        count = max(1, int(round(share * size, 6)))
        stays &= np.isin(place[:, axis], rng.permutation(size)[:count])
    return stays


def random_mask(patches: int, hidden: float, rng: np.random.Generator) -> np.ndarray:
    """(patches,) bool: the patches that a masked auto-encoder sees, int(patches * (1 - hidden))."""
    seen = np.zeros(patches, bool)
    seen[rng.permutation(patches)[: max(1, int(round(patches * (1 - hidden), 6)))]] = True
    return seen
