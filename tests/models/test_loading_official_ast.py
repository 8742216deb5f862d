"""Official AST files against a plain reading of the official code."""

from __future__ import annotations

import argparse
import warnings

import foreign
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.loading.infer import infer_grid
from spectrim.models.loading.load import load

pytestmark = pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")


@pytest.fixture
def save(tmp_path):
    def save(state, name="audio_model.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("stride,patches", [(16, 64), (10, 144)])
def test_logits_are_the_official_ones(save, stride, patches):
    state = foreign.official_ast(patches)
    model = load(save(state))
    features = torch.randn(2, 128, 128)
    assert model.config.frames == 128 and model.config.padding == "zero" and not model.training
    torch.testing.assert_close(
        model(features), foreign.run_official_ast(state, features, (stride, stride)),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    "patches,stride,frames",
    [
        (1212, 10, 1024),
        (600, 10, 512),
        (144, 10, 128),
        (512, 16, 1024),
        (256, 16, 512),
        (64, 16, 128),
    ],
)
def test_known_counts_of_patches_tell_stride_and_frames(patches, stride, frames):
    grid = infer_grid(patches, None, "model.pth")
    assert (grid.stride, grid.frames, grid.count) == ((stride, stride), frames, patches)


def test_unequal_strides_and_any_length_when_told(save):
    state = foreign.official_ast(12 * 9)  # 9 columns, 16 apart, end at frame 144
    model = load(save(state), stride=(10, 16), frames=150)
    features = torch.randn(2, 150, 128)
    want = foreign.run_official_ast(state, features, (10, 16))
    torch.testing.assert_close(model(features), want, atol=1e-5, rtol=1e-4)


def test_training_state_beside_the_model_is_dropped(save):
    state = foreign.official_ast()
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    beside = {"epoch": 7, "scaler": {"scale": 2.0}, "args": argparse.Namespace(lr=1e-5)}
    beside["optimizer"] = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1}]}
    features = torch.randn(1, 128, 128)
    got = load(save({"model": plain} | beside), padding="minimum")
    assert got.config.padding == "minimum"
    torch.testing.assert_close(got(features), load(save(state))(features))


def test_wrapped_names_are_the_same_in_both_kinds_of_file(save, tmp_path):
    state = {name: value.clone() for name, value in foreign.official_ast().items()}
    assert all(name.startswith("module.") for name in state)
    safetensors.torch.save_file(state, tmp_path / "ast.safetensors")
    features = torch.randn(1, 128, 128)
    got = load(tmp_path / "ast.safetensors")
    torch.testing.assert_close(got(features), load(save(state))(features))


def test_half_precision_loads_as_float32_unless_told(save):
    path = save({name: value.half() for name, value in foreign.official_ast().items()})
    assert load(path).dtype == torch.float32
    model = load(path, dtype="bfloat16", device="cpu")
    assert model.dtype == torch.bfloat16 and model.filterbank.mel.dtype == torch.float32


def test_shorter_takes_the_middle_columns_as_the_original(save):
    state = foreign.official_ast(512)
    old = state["module.v.pos_embed"]
    start = 64 // 2 - 19 // 2  # int(original / 2) - int(wanted / 2), in ASTModel.__init__
    table = old[:, 2:].transpose(1, 2).reshape(1, foreign.WIDTH, 8, 64)[..., start : start + 19]
    table = table.reshape(1, foreign.WIDTH, -1).transpose(1, 2)
    cut = state | {"module.v.pos_embed": torch.cat([old[:, :2], table], 1)}
    features = torch.randn(1, 304, 128)
    got = load(save(state), frames=304)(features)
    want = foreign.run_official_ast(cut, features)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_longer_interpolates_as_the_original(save):
    state = foreign.official_ast(144)
    old = state["module.v.pos_embed"]
    table = old[:, 2:].transpose(1, 2).reshape(1, foreign.WIDTH, 12, 12)
    table = functional.interpolate(table, size=(12, 39), mode="bilinear")
    longer = torch.cat([old[:, :2], table.flatten(2).transpose(1, 2)], 1)
    features = torch.randn(1, 400, 128)
    want = foreign.run_official_ast(state | {"module.v.pos_embed": longer}, features, (10, 10))
    got = load(save(state), frames=400)(features)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_the_notice_names_what_was_assumed_and_nothing_that_was_said(save):
    path = save(foreign.official_ast())
    with pytest.warns(
        SpectrimNotice, match=r"-4\.2677.*4\.5689.*zero.*class tokens.*pool="
    ) as seen:
        load(path)
    assert len(seen) == 1 and seen[0].filename == __file__
    said = {"mean": -6.8, "std": 5.5, "padding": "minimum", "labels": list("abcde"),
            "pool": "prefix"}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrimNotice)
        model = load(path, **said, frames=128, activation="sigmoid")
    assert model.labels == said["labels"]
    assert (model.config.mean, model.config.std, model.config.metric) == (-6.8, 5.5, "mAP")


def test_names_of_labels_must_be_as_many_as_classes(save):
    path = save(foreign.official_ast())
    assert load(path, labels=5).labels == [f"class {index}" for index in range(5)]
    for labels in (["a", "b"], 50, "abcde"):
        with pytest.raises(SpectrimError, match="labels"):
            load(path, labels=labels)
