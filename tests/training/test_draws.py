"""Which patches a training clip keeps, against counts by hand and many draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrim.common.splitmix import numbers, unit
from spectrim.pruning.patches import PatchGrid
from spectrim.training.draws import random_mask, token_mask


def keys(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, count))


def table(stays: np.ndarray, grid: PatchGrid) -> np.ndarray:
    """(columns, rows) values, by asking the grid for each cell's index."""
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
    masks = token_mask(grid, 0.7, 0.7, keys(20))
    assert masks.dtype == torch.bool and masks.shape == (20, grid.count)
    for stays in masks.numpy():
        cells = table(stays, grid)
        assert cells.sum() == columns * rows
        kept_columns, kept_rows = cells.any(1), cells.any(0)
        assert (kept_columns.sum(), kept_rows.sum()) == (columns, rows)
        assert (cells == np.outer(kept_columns, kept_rows)).all()


@pytest.mark.parametrize("frequency_major", [True, False])
def test_columns_run_along_time_and_rows_along_frequency(frequency_major):
    """Painted on features: a column that stays shows 16 frames over some of the mel bins."""
    grid = PatchGrid(128, frequency_major=frequency_major)
    only_time = token_mask(grid, 0.5, 1.0, keys(1))[0]
    only_frequency = token_mask(grid, 1.0, 0.25, keys(1))[0]
    frames = torch.arange(128.0)[None, :, None].expand(1, 128, 128)
    bins = frames.transpose(1, 2)
    for stays, own, other, many in (
        (only_time, frames, bins, 4),
        (only_frequency, bins, frames, 2),
    ):
        kept = grid.cut(own)[0][stays]
        assert len(kept.unique()) == many * 16
        assert len(grid.cut(other)[0][stays].unique()) == 128


def test_every_column_and_row_has_the_same_chance():
    grid = PatchGrid(512)
    draws = 2000
    masks = token_mask(grid, 0.7, 0.7, keys(draws))
    cells = table(masks.sum(0).numpy(), grid)
    columns, rows = cells.sum(1) / 5 / draws, cells.sum(0) / 22 / draws
    # Five standard deviations of a share of 2000 draws.
    assert np.abs(columns - 22 / 32).max() < 5 * (0.6875 * 0.3125 / draws) ** 0.5
    assert np.abs(rows - 5 / 8).max() < 5 * (0.625 * 0.375 / draws) ** 0.5


def test_where_all_stays_there_is_no_mask():
    assert token_mask(PatchGrid(128), 1.0, 1.0, keys(1)) is None


def test_at_least_one_patch_stays():
    assert token_mask(PatchGrid(64), 0.0, 0.0, keys(1)).sum() == 1
    assert random_mask(32, 0.999, keys(1)).sum() == 1


def test_the_same_key_gives_the_same_mask_in_any_batch():
    seeds = keys(9)
    for draw in (
        lambda some: token_mask(PatchGrid(512), 0.7, 0.7, some),
        lambda some: random_mask(256, 0.8, some),
    ):
        masks = draw(seeds)
        assert len(masks.unique(dim=0)) == 9
        for row in range(9):
            assert torch.equal(draw(seeds[row : row + 1])[0], masks[row])


def test_columns_and_rows_are_drawn_independently_of_the_noise():
    """The mask of columns does not follow the order of the noise's random numbers."""
    grid, seeds = PatchGrid(512), keys(2000)
    kept = token_mask(grid, 0.5, 1.0, seeds)[:, : grid.columns].double().numpy()
    noise = unit(numbers(seeds, grid.columns)).double().numpy()
    assert abs(np.corrcoef(kept.ravel(), noise.ravel())[0, 1]) < 5 / kept.size**0.5


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
    mask = random_mask(patches, hidden, keys(3))
    assert mask.dtype == torch.bool and mask.shape == (3, patches)
    assert mask.sum(1).tolist() == [seen] * 3


def test_every_patch_is_seen_as_often_and_pairs_are_independent():
    draws = random_mask(64, 0.75, keys(4000)).numpy()
    share = draws.mean(0)
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
    # Without replacement two patches hinder one another by -1 / 63, wherever they lie.
    correlation = np.corrcoef(draws.T) - np.eye(64)
    assert np.abs(correlation + (1 - np.eye(64)) / 63).max() < 5 / 4000**0.5
