"""Patches that a training clip keeps, drawn for a whole batch on its device."""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.splitmix import numbers, unit
from ..pruning.patches import PatchGrid

# Keys of the masks differ from those of noise and joined clips by these constants.
COLUMNS, ROWS, PATCHES = 0x51C0, 0x51C1, 0x51C2


def token_mask(grid: PatchGrid, columns: float, rows: float, keys: Tensor) -> Tensor | None:
    """(batch, patches) bool: random int(columns * T) time columns and int(rows * F) frequency rows.

    AudioMAE's 2-D masking for fine-tuning (arXiv 2207.06405); None if everything is kept.

    Args:
        keys: (batch,) int64 seeds, one per clip.
    """
    if columns >= 1 and rows >= 1:
        return None
    position = grid.locate(torch.arange(grid.count, device=keys.device))  # (patches, 2)
    keep = torch.ones(len(keys), grid.count, dtype=torch.bool, device=keys.device)
    axes = ((0, columns, grid.columns, COLUMNS), (1, rows, grid.rows, ROWS))
    for axis, share, size, stream in axes:
        count = max(1, int(round(share * size, 6)))  # rounded first: 0.7 * 10 is 6.999... in float
        keep &= _subset(keys ^ stream, size, count)[:, position[:, axis]]
    return keep


def random_mask(patches: int, hidden: float, keys: Tensor) -> Tensor:
    """(batch, patches) bool: int(patches * (1 - hidden)) patches that a masked auto-encoder sees.

    Args:
        keys: as in `token_mask`.
    """
    return _subset(keys ^ PATCHES, patches, max(1, int(round(patches * (1 - hidden), 6))))


def _subset(keys: Tensor, size: int, count: int) -> Tensor:
    """(batch, size) bool: `count` random members of each row."""
    order = unit(numbers(keys, size)).argsort(1)
    chosen = torch.zeros_like(order, dtype=torch.bool)
    return chosen.scatter_(1, order[:, :count], True)
