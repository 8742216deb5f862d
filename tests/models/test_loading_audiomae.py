"""AudioMAE files, and ports under timm's names, against a plain reading of its code."""

from __future__ import annotations

import argparse
import json

import foreign
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from spectrim.common.errors import SpectrimNotice
from spectrim.models.loading.load import load

pytestmark = pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")


def save(state, path):
    args = argparse.Namespace(model="vit_base_patch16", mask_2d=True)
    torch.save({"model": state, "epoch": 59, "args": args, "optimizer": {}, "scaler": None}, path)
    return path


def test_fine_tuned_logits_are_the_original_ones(tmp_path):
    state = foreign.audiomae()
    model = load(save(state, tmp_path / "finetuned.pth"))
    features = torch.randn(2, 128, 128)
    want = foreign.run_audiomae(state, features)
    torch.testing.assert_close(model(features), want, atol=1e-5, rtol=1e-4)
    assert not model.positions.requires_grad  # fixed sine and cosine


def test_pre_trained_gets_a_fresh_head_and_says_so(tmp_path):
    state = foreign.audiomae(head=False)
    path = save(state, tmp_path / "pretrained.pth")
    with pytest.warns(SpectrimNotice, match="no head"):
        model = load(path, labels=["dog", "rain", "clock"])
    assert model.labels == ["dog", "rain", "clock"] and model.config.activation == "softmax"
    features = torch.randn(2, 128, 128)
    want = functional.layer_norm(foreign.audiomae_mean(state, features), (foreign.WIDTH,), eps=1e-6)
    torch.testing.assert_close(model.embed(features), want, atol=1e-5, rtol=1e-4)
    assert load(path, labels=7)(features).shape == (2, 7)
    audioset = load(path)
    assert len(audioset.labels) == 527 and audioset.config.activation == "sigmoid"


def test_a_final_norm_without_a_head_is_kept(tmp_path):
    state = foreign.audiomae()
    features = torch.randn(1, 128, 128)
    headless = {k: v for k, v in state.items() if not k.startswith("head.")}
    got = load(save(headless, tmp_path / "encoder.pth"), labels=2).embed(features)
    want = functional.layer_norm(
        foreign.audiomae_mean(state, features),
        (foreign.WIDTH,),
        *foreign.layer(state, "fc_norm"),
        1e-6,
    )
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_shorter_keeps_the_first_rows_of_the_flat_table(tmp_path):
    state = foreign.audiomae(512)
    cut = state | {"pos_embed": state["pos_embed"][:, : 1 + 8 * 20]}
    features = torch.randn(1, 320, 128)
    model = load(save(state, tmp_path / "finetuned.pth"), frames=320)
    torch.testing.assert_close(
        model(features), foreign.run_audiomae(cut, features), atol=1e-5, rtol=1e-4
    )


def test_longer_stretches_each_frequency_row_along_time(tmp_path):
    state = foreign.audiomae(64)
    model = load(save(state, tmp_path / "finetuned.pth"), frames=208)
    cells = state["pos_embed"][0, 1:].reshape(8, 8, foreign.WIDTH)  # (time, frequency, width)
    cells = functional.interpolate(cells.permute(2, 1, 0)[None], size=(8, 13), mode="bilinear")
    table = cells[0].permute(2, 1, 0).reshape(1, 8 * 13, foreign.WIDTH)
    longer = state | {"pos_embed": torch.cat([state["pos_embed"][:, :1], table], 1)}
    features = torch.randn(1, 208, 128)
    torch.testing.assert_close(
        model(features), foreign.run_audiomae(longer, features), atol=1e-5, rtol=1e-4
    )


PORT = {  # as gaunernst/vit_base_patch16_1024_128.audiomae_as2m_ft_as20k writes it
    "architecture": "vit_base_patch16_224",
    "num_classes": 5,
    "num_features": 768,
    "global_pool": "avg",
    "pretrained_cfg": {
        "tag": "audiomae", "custom_load": False, "input_size": [1, 136, 128],
        "fixed_input_size": True, "num_classes": 5, "pool_size": None,
        "first_conv": "patch_embed.proj", "classifier": "head", "license": "cc-by-nc-4.0",
    },
    "model_args": {"global_pool": "avg"},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_folder_of_a_timm_port(tmp_path, kind):
    state = {k: v for k, v in foreign.audiomae().items() if not k.startswith("norm.")}
    (tmp_path / "config.json").write_text(json.dumps(PORT | {"label_names": list("vwxyz")}))
    if kind == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        save_file(state, tmp_path / "model.safetensors")
    model = load(tmp_path)
    assert model.labels == list("vwxyz") and model.config.frames == 136
    features = torch.randn(2, 136, 128)
    want = foreign.run_audiomae(state, features)
    torch.testing.assert_close(model(features), want, atol=1e-5, rtol=1e-4)
