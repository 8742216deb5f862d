"""Position embeddings: fixed sine-cosine tables, and adapting a table to another length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..pruning.patches import PatchGrid


def sine_cosine(grid: PatchGrid, width: int, num_prefix_tokens: int) -> Tensor:
    """(1, num_prefix_tokens + patches, width) fixed 2-D sine and cosine, zeros for prefix tokens.

    As in MAE (arXiv 2111.06377), for an image whose height is time and whose width is frequency:
    the first half of the width encodes the frequency row, the second half the time column, each
    by sines and cosines of wavelengths up to 10000. New models use this table; saved and
    converted models keep the one that they store. (Spectrim 0.1 swapped the halves.)
    """
    position = grid.locate(torch.arange(grid.count)).double()
    quarter = width // 4
    rate = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [position[:, axis, None] * rate for axis in (1, 0)]
    table = torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], 1)
    return nn.functional.pad(table, (0, width - table.shape[1], num_prefix_tokens, 0)).float()[None]


def adapt(
    positions: Tensor, num_prefix_tokens: int, old: PatchGrid, new: PatchGrid, kept: str
) -> Tensor:
    """(1, num_prefix_tokens + old patches, width) to another number of time columns.

    Shorter: the "middle" columns (AST) or the "first" ones are kept. Longer: linear interpolation
    along time, as in AST. Other models define no longer length; each frequency row of their table
    is interpolated in the same way.

    Args:
        kept: "middle" or "first", as `ModelConfig.positions_kept`.
    """
    if old.columns == new.columns:
        return positions
    prefix, table = positions[:, :num_prefix_tokens], positions[0, num_prefix_tokens:]
    grid = table.unflatten(
        0, (old.rows, old.columns) if old.frequency_major else (old.columns, old.rows)
    )
    if not old.frequency_major:
        grid = grid.transpose(0, 1)  # (rows, columns, width)
    if new.columns < old.columns:
        first = old.columns // 2 - new.columns // 2 if kept == "middle" else 0
        grid = grid[:, first : first + new.columns]
    else:
        grid = nn.functional.interpolate(
            grid.transpose(1, 2), size=new.columns, mode="linear", align_corners=False
        ).transpose(1, 2)
    if not old.frequency_major:
        grid = grid.transpose(0, 1)
    return torch.cat([prefix, grid.flatten(0, 1)[None]], 1)


def stretch(positions: Tensor, num_prefix_tokens: int, old: PatchGrid, new: PatchGrid) -> Tensor:
    """(1, num_prefix_tokens + old patches, width) to another grid of the same spectrogram.

    Bilinear, first along time, then along frequency, as SSAST's fine-tuning does for another
    stride. Both grids are frequency-major.
    """
    prefix, table = positions[:, :num_prefix_tokens], positions[:, num_prefix_tokens:]
    image = table.transpose(1, 2).unflatten(2, (old.rows, old.columns))
    for size in ((old.rows, new.columns), (new.rows, new.columns)):
        if image.shape[2:] != size:
            image = nn.functional.interpolate(image, size, mode="bilinear", align_corners=False)
    return torch.cat([prefix, image.flatten(2).transpose(1, 2)], 1)
