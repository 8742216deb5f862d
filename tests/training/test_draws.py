"""Which patches a training clip keeps, against counts by hand and many draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrim.pruning.patches import PatchGrid
from spectrim.training.draws import random_mask, token_mask


def table(stays: np.ndarray, grid: PatchGrid) -> np.ndarray:
    """(columns, rows) bool, by asking the grid for each cell's index."""
    return np.array(
        [[stays[grid.index(c, r)] for r in range(grid.rows)] for c in range(grid.columns)]
    )


@pytest.mark.parametrize("frequency_major", [True, False])
@pytest.mark.parametrize(
    ("frames", "columns", "rows"), [(1024, 44, 5), (512, 22, 5), (128, 5, 5)]
)  # fmt: skip
def test_70_percent_of_columns_and_rows_stay_whole(frames, columns, rows, frequency_major):
    """int(0.7 * 64) = 44 columns times int(0.7 * 8) = 5 rows: 220 of 512 patches."""
    grid = PatchGrid(frames, frequency_major=frequency_major)
    rng = np.random.default_rng(0)
    for _ in range(20):
        stays = token_mask(grid, 0.7, 0.7, rng)
        assert stays.dtype == bool and stays.shape == (grid.count,)
        cells = table(stays, grid)
        assert cells.sum() == columns * rows
        kept_columns, kept_rows = cells.any(1), cells.any(0)
        assert (kept_columns.sum(), kept_rows.sum()) == (columns, rows)
        assert (cells == np.outer(kept_columns, kept_rows)).all()


@pytest.mark.parametrize("frequency_major", [True, False])
def test_columns_run_along_time_and_rows_along_frequency(frequency_major):
    """Painted on features: a column that stays shows 16 frames over some of the mel bins."""
    grid = PatchGrid(128, frequency_major=frequency_major)
    only_time = token_mask(grid, 0.5, 1.0, np.random.default_rng(1))
    only_frequency = token_mask(grid, 1.0, 0.25, np.random.default_rng(1))
    frames = torch.arange(128.0)[None, :, None].expand(1, 128, 128)
    bins = frames.transpose(1, 2)
    for stays, own, other, many in (
        (only_time, frames, bins, 4),
        (only_frequency, bins, frames, 2),
    ):
        kept = grid.cut(own)[0][torch.from_numpy(stays)]
        assert len(kept.unique()) == many * 16
        assert len(grid.cut(other)[0][torch.from_numpy(stays)].unique()) == 128


def test_every_column_and_row_has_the_same_chance():
    grid = PatchGrid(512)
    rng = np.random.default_rng(0)
    draws = 2000
    cells = sum(table(token_mask(grid, 0.7, 0.7, rng), grid).astype(int) for _ in range(draws))
    columns, rows = cells.sum(1) / 5 / draws, cells.sum(0) / 22 / draws
    # Five standard deviations of a share of 2000 draws.
    assert np.abs(columns - 22 / 32).max() < 5 * (0.6875 * 0.3125 / draws) ** 0.5
    assert np.abs(rows - 5 / 8).max() < 5 * (0.625 * 0.375 / draws) ** 0.5


def test_where_all_stays_there_is_no_mask():
    assert token_mask(PatchGrid(128), 1.0, 1.0, np.random.default_rng(0)) is None


def test_at_least_one_patch_stays():
    assert token_mask(PatchGrid(64), 0.0, 0.0, np.random.default_rng(0)).sum() == 1
    assert random_mask(32, 0.999, np.random.default_rng(0)).sum() == 1


def test_the_same_generator_gives_the_same_mask():
    one, same, other = (
        token_mask(PatchGrid(512), 0.7, 0.7, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert (one == same).all() and (one != other).any()
    one, same, other = (random_mask(256, 0.8, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(
    ("patches", "hidden", "seen"),
    [
        (512, 0.8, 102),
        (256, 0.8, 51),
        (512, 0.75, 128),
        (512, 0.7, 153),  # 153.6
        (100, 0.7, 30),  # 100 * (1 - 0.7) is 30.000000000000004
        (10, 0.9, 1),  # 10 * (1 - 0.9) is 0.9999999999999998
        (600, 0.8, 120),  # 119.99999999999997
    ],
)
def test_a_share_of_the_patches_is_seen(patches, hidden, seen):
    mask = random_mask(patches, hidden, np.random.default_rng(0))
    assert mask.dtype == bool and mask.shape == (patches,)
    assert mask.sum() == seen


def test_every_patch_is_seen_as_often_and_pairs_are_independent():
    rng = np.random.default_rng(0)
    draws = np.array([random_mask(64, 0.75, rng) for _ in range(4000)])
    share = draws.mean(0)
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
    # Without replacement two patches hinder one another by -1 / 63, wherever they lie.
    correlation = np.corrcoef(draws.T) - np.eye(64)
    assert np.abs(correlation + (1 - np.eye(64)) / 63).max() < 5 / 4000**0.5
