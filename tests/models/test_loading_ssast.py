"""SSAST: pre-trained files without a head, and fine-tuned ones with the names of official AST."""

from __future__ import annotations

import foreign
import foreign_backbones
import pytest
import torch

from spectrim import create, load
from spectrim.common.errors import SpectrimError, SpectrimNotice


@pytest.fixture
def path(tmp_path):
    torch.save(foreign_backbones.ssast(), tmp_path / "ssast.pth")
    return tmp_path / "ssast.pth"


def test_a_pre_trained_file(path):
    with pytest.warns(SpectrimNotice, match="has no head"):
        model = load(path, labels=["a", "b"])
    config = model.config
    assert (config.family, config.pool, config.frames) == ("ssast", "normalised-patches", 128)
    x = torch.randn(2, 128, 128)
    tokens = model.norm(model.encode(x).patches)
    expected = foreign_backbones.run_ssast(torch.load(path), x)
    torch.testing.assert_close(tokens.mean(1), expected, atol=1e-5, rtol=1e-4)
    normalised = torch.nn.functional.layer_norm(expected, (128,), eps=1e-5)
    torch.testing.assert_close(model.embed(x), normalised, atol=1e-4, rtol=1e-3)
    assert model.trace(x).scores[1].shape == (2, 64)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_stride_10_stretches_the_positions(path):
    """As torch's bilinear interpolation, along time and then along frequency."""
    coarse, fine = load(path, labels=2), load(path, labels=2, stride=10)
    assert (fine.grid.rows, fine.grid.columns) == (12, 12)
    table = coarse.positions[0, 2:].T.unflatten(1, (8, 8))[None]
    expected = torch.nn.functional.interpolate(table, (12, 12), mode="bilinear")
    torch.testing.assert_close(
        fine.positions[0, 2:].T.unflatten(1, (12, 12))[None], expected, atol=1e-6, rtol=0
    )
    assert fine.positions[:, :2].equal(coarse.positions[:, :2])


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_fine_tuned_file_is_an_official_ast_unless_the_user_says_what_its_head_reads(tmp_path):
    state = foreign.official_ast()
    torch.save(state, tmp_path / "tuned.pth")
    x = torch.randn(2, 128, 128)
    ast, ssast = (
        load(tmp_path / "tuned.pth"),
        load(tmp_path / "tuned.pth", pool="normalised-patches"),
    )
    assert (ast.config.family, ssast.config.family) == ("ast", "ssast")
    pooled = foreign_backbones.run_ssast(state, x)
    names = {name.removeprefix("module."): value for name, value in state.items()}
    pooled = foreign_backbones.layer_norm(pooled, names, "mlp_head.0", 1e-5)
    expected = torch.nn.functional.linear(pooled, *foreign.layer(names, "mlp_head.1"))
    torch.testing.assert_close(ssast(x), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ast(x), foreign.run_official_ast(state, x), atol=1e-4, rtol=1e-3)


def test_a_pool_that_does_not_exist_or_that_the_file_decides(tmp_path, path):
    for pool in ("mean", "patches"):
        with pytest.raises(SpectrimError, match=f"pool is '{pool}'"):
            load(path, labels=2, pool=pool)
    folder = create("ast-tiny", frames=64, classes=2).save(tmp_path / "ours")
    with pytest.raises(SpectrimError, match="pool is 'prefix' and cannot become 'patches'"):
        load(folder, pool="patches")
