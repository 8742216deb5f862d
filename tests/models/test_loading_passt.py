"""PaSST against a plain forward pass."""

from __future__ import annotations

import foreign_backbones as foreign
import pytest
import torch

from spectrim import create, load
from spectrim.common.errors import SpectrimError, SpectrimNotice


def saved(path, state):
    torch.save(state, path)
    return path


@pytest.mark.parametrize(("rows", "stride", "columns"), [(12, 10, 9), (8, 16, 6), (10, 12, 8)])
def test_the_sum_of_both_tables(tmp_path, rows, stride, columns):
    state = foreign.passt(rows, columns)
    with pytest.warns(SpectrimNotice, match="5 labels"):
        model = load(saved(tmp_path / "passt.pt", state))
    config = model.config
    assert (config.family, config.front_end, config.sample_rate) == ("passt", "passt-mel", 32_000)
    assert (config.stride, config.frames) == ((stride, stride), 100)  # one second
    x = torch.randn(2, config.frames, 128)
    expected = foreign.run_passt(state, x, stride)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_shorter_clip_uses_the_first_columns(tmp_path):
    state = foreign.passt()
    model = load(saved(tmp_path / "passt.pt", state), frames=60)
    x = torch.randn(2, 60, 128)
    torch.testing.assert_close(model(x), foreign.run_passt(state, x, 10), atol=1e-5, rtol=1e-4)


def test_rows_that_belong_to_no_published_stride(tmp_path):
    path = saved(tmp_path / "passt.pt", foreign.passt(rows=15))
    with pytest.raises(SpectrimError, match=r"15 rows.*stride="):
        load(path)
    with pytest.raises(SpectrimError, match="15 rows"):
        load(path, stride=10)
    with pytest.warns(SpectrimNotice):
        assert load(path, stride=8).grid.rows == 15


def test_presets_have_the_published_numbers_of_patches():
    counts = {size: create(f"passt-{size}", classes=3).grid.count for size in ("s10", "s16")}
    assert counts == {"s10": 1188, "s16": 496}
