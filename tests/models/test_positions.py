"""The fixed positions of new AudioMAE models are MAE's; saved models keep the table they store."""

from __future__ import annotations

import math

import pytest
import torch

from spectrim import create, load
from spectrim.models.positions import sine_cosine
from spectrim.pruning.patches import PatchGrid


def mae(height: int, width: int, size: int) -> torch.Tensor:
    """MAE's `get_2d_sincos_pos_embed` (facebookresearch/mae, util/pos_embed.py), slowly.

    MAE names the two halves "h" and "w", but fills the first from the grid's first entry, which
    `np.meshgrid(grid_w, grid_h)` makes the position along the width.
    """
    rows = []
    for h in range(height):
        for w in range(width):
            row = []
            for position in (w, h):
                angles = [position / 10000 ** (index / (size / 4)) for index in range(size // 4)]
                row += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize(("frames", "size"), [(64, 128), (128, 384), (1024, 192)])
def test_the_table_is_that_of_mae(frames, size):
    """The image of AudioMAE is (time, frequency), and its patches are time-major."""
    grid = PatchGrid(frames, 128, frequency_major=False)
    table = sine_cosine(grid, size, 1)
    assert table[0, 0].eq(0).all()  # the class token
    torch.testing.assert_close(table[0, 1:], mae(frames // 16, 8, size), atol=1e-5, rtol=0)


def test_a_new_model_has_this_table():
    model = create("audiomae-tiny", frames=64, classes=3)
    torch.testing.assert_close(model.positions[0, 1:], mae(4, 8, 128), atol=1e-5, rtol=0)
    assert not model.positions.requires_grad


def test_a_saved_model_keeps_its_table(tmp_path):
    """Earlier versions swapped the halves: time first."""
    torch.manual_seed(0)
    old = create("audiomae-tiny", frames=64, classes=3)
    with torch.no_grad():
        swapped = torch.cat(old.positions.chunk(2, -1)[::-1], -1)
        old.positions.copy_(swapped)
    features = torch.randn(2, 64, 128)
    expected = old(features)
    new = load(old.save(tmp_path / "old"))
    assert new.positions.equal(swapped) and new(features).equal(expected)
    new = load(old.save(tmp_path / "half", dtype=torch.float16))
    assert new.positions.equal(swapped.half().float())


def test_the_built_in_model_keeps_its_table():
    """It was trained with the halves swapped: time first."""
    model = load("audiomae-digits")
    by_mae = mae(model.grid.columns, model.grid.rows, model.config.width)
    swapped = torch.cat(by_mae.chunk(2, -1)[::-1], -1)
    torch.testing.assert_close(model.positions[0, 1:], swapped, atol=1e-3, rtol=0)  # half floats
