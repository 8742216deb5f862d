"""Position embeddings: made, and adapted to another length at the door."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..pruning.patches import Grid


def sine_cosine(grid: Grid, width: int, specials: int) -> Tensor:
    """(1, specials + patches, width) fixed 2-D sine and cosine, zeros for special tokens.

    As in MAE (arXiv 2111.06377): half of the width encodes the frequency row, half the time
    column, each by sines and cosines of wavelengths up to 10000. For models made here, which
    are pre-trained with it; foreign checkpoints bring their own table, which is read.
    """
    place = grid.locate(torch.arange(grid.count)).double()
    quarter = width // 4
    rate = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [place[:, axis, None] * rate for axis in (0, 1)]
    table = torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], 1)
    return nn.functional.pad(table, (0, width - table.shape[1], specials, 0)).float()[None]


def adapt(positions: Tensor, specials: int, old: Grid, new: Grid) -> Tensor:
    """(1, specials + old patches, width) to another number of time columns.

    Frequency-major (AST): the middle columns when shorter. Time-major (AudioMAE): the first
    rows of the flat table when shorter, so that each token keeps the row that it was
    pre-trained with. Longer: linear interpolation along time in both, AST's own way; for
    AudioMAE, where nobody defined it, each frequency row is stretched likewise.
    """
    if old.columns == new.columns:
        return positions
    special, table = positions[:, :specials], positions[0, specials:]
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
