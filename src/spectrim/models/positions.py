"""Position embeddings: made, and adapted to another length at the door."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..pruning.patches import PatchGrid


def sine_cosine(grid: PatchGrid, width: int, num_prefix_tokens: int) -> Tensor:
    """(1, num_prefix_tokens + patches, width) fixed 2-D sine and cosine, zeros for prefix tokens.

    As in MAE (arXiv 2111.06377): half of the width encodes the frequency row, half the time
    column, each by sines and cosines of wavelengths up to 10000. For models made here, which
    are pre-trained with it; foreign checkpoints bring their own table, which is read.
    """
    place = grid.locate(torch.arange(grid.count)).double()
    quarter = width // 4
    rate = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [place[:, axis, None] * rate for axis in (0, 1)]
    table = torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], 1)
    return nn.functional.pad(table, (0, width - table.shape[1], num_prefix_tokens, 0)).float()[None]


def adapt(positions: Tensor, num_prefix_tokens: int, old: PatchGrid, new: PatchGrid) -> Tensor:
    """(1, num_prefix_tokens + old patches, width) to another number of time columns.

    Frequency-major (AST): the middle columns when shorter. Time-major (AudioMAE): the first
    rows of the flat table when shorter, so that each token keeps the row that it was
    pre-trained with. Longer: linear interpolation along time in both, AST's own way; for
    AudioMAE, where nobody defined it, each frequency row is stretched likewise.
    """
    if old.columns == new.columns:
        return positions
    special, table = positions[:, :num_prefix_tokens], positions[0, num_prefix_tokens:]
    cells = table.unflatten(
        0, (old.rows, old.columns) if old.frequency_major else (old.columns, old.rows)
    )
    if not old.frequency_major:
        cells = cells.transpose(0, 1)  # (rows, columns, width)
    if new.columns < old.columns:
        first = old.columns // 2 - new.columns // 2 if old.frequency_major else 0
        cells = cells[:, first : first + new.columns]
    else:
        cells = nn.functional.interpolate(
            cells.transpose(1, 2), size=new.columns, mode="linear", align_corners=False
        ).transpose(1, 2)
    if not old.frequency_major:
        cells = cells.transpose(0, 1)
    return torch.cat([special, cells.flatten(0, 1)[None]], 1)
