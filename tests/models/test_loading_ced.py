"""CED: its original file and its hub folder against a plain forward pass, and refusals."""

from __future__ import annotations

import json

import foreign_backbones as foreign
import pytest
import torch
from safetensors.torch import save_file

from spectrim import create, load
from spectrim.common.errors import SpectrimError, SpectrimNotice


@pytest.fixture
def state():
    return foreign.ced()


@pytest.fixture
def hub_folder(tmp_path, state):
    save_file(foreign.ced_on_the_hub(state), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(foreign.CED_CONFIG))
    (tmp_path / "modeling_ced.py").write_text("raise SystemExit('remote code was executed')")
    return tmp_path


def decibels(frames):
    return torch.randn(2, frames, 64) * 20 - 30


@pytest.mark.parametrize("nested", [False, True])
def test_the_original_file(tmp_path, state, nested):
    path = tmp_path / "ced.pt"
    torch.save({"model": state, "config": {"lr": 1.0}} if nested else state, path)
    with pytest.warns(SpectrimNotice, match="5 labels"):
        model = load(path)
    config = model.config
    assert (config.family, config.heads, config.frames, config.mels) == ("ced", 2, 128, 64)
    assert (config.activation, config.front_end, config.pool) == (
        "sigmoid", "htk-mel", "normalised-patches"
    )  # fmt: skip
    x = decibels(128)
    expected = foreign.run_ced(state, x)
    torch.testing.assert_close(model(model.normalise(x)), expected, atol=1e-4, rtol=1e-4)


def test_a_hub_folder_is_read_as_data(hub_folder, state):
    model = load(hub_folder)
    assert model.labels[4] == "sound 4" and model.config.frames == 131
    x = decibels(131)  # the last 3 frames fill no patch
    expected = foreign.run_ced(state, x)
    torch.testing.assert_close(model(model.normalise(x)), expected, atol=1e-4, rtol=1e-4)


def test_a_shorter_clip_uses_the_first_positions(hub_folder, state):
    model = load(hub_folder, frames=64)
    x = decibels(64)
    expected = foreign.run_ced(state, x)
    torch.testing.assert_close(model(model.normalise(x)), expected, atol=1e-4, rtol=1e-4)


def test_the_normalisation_stays_float32_in_a_half_precision_model(hub_folder):
    x = decibels(131)
    half, full = load(hub_folder, dtype="bfloat16"), load(hub_folder)
    assert half.normalise(x).equal(full.normalise(x))


def test_saving_keeps_the_normalisation_per_mel_bin(hub_folder, tmp_path):
    model = load(hub_folder)
    again = load(model.save(tmp_path / "saved"))
    assert again.config == model.config and len(again.config.mel_scale) == 64
    x = decibels(131)
    assert again.normalise(x).equal(model.normalise(x))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mlp_ratio", 6, "mlp_ratio is 6"),
        ("pooling", "logit", "pooling is 'logit'"),
        ("target_length", 400, "8 columns"),
        ("hop_size", 320, "hop_size is 320"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("depth", 7, r"depth is 7 .* but the weights have \d blocks"),
        ("embed_dim", "wide", "embed_dim is 'wide'"),
    ],
)
def test_a_config_that_spectrim_does_not_compute(hub_folder, key, value, message):
    config = foreign.CED_CONFIG | {key: value}
    (hub_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpectrimError, match=message):
        load(hub_folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("sampling_rate", 32_000), ("feature_size", 128), ("hop_size", 320), ("f_max", 4000)],
)
def test_other_features_are_refused(hub_folder, key, value):
    published = {"sampling_rate": 16_000, "feature_size": 64, "n_fft": 512, "f_max": None}
    file = hub_folder / "preprocessor_config.json"
    file.write_text(json.dumps(published))
    load(hub_folder)
    file.write_text(json.dumps(published | {key: value}))
    with pytest.raises(SpectrimError, match=f"{key} is {value} in preprocessor_config.json"):
        load(hub_folder)


def test_a_larger_mlp_in_a_file_without_a_config(tmp_path, state):
    state["blocks.0.mlp.fc1.weight"] = torch.randn(6 * 128, 128)
    torch.save(state, tmp_path / "ced.pt")
    with pytest.raises(SpectrimError, match="MLP is 6 times as wide"):
        load(tmp_path / "ced.pt")


def test_heads_that_do_not_divide_the_width_and_heads_of_a_file_that_stores_them(
    tmp_path, state, hub_folder
):
    torch.save(state, tmp_path / "ced.pt")
    with pytest.raises(SpectrimError, match="not divisible by 3 heads"):
        load(tmp_path / "ced.pt", heads=3)
    with pytest.raises(SpectrimError, match="heads is 2 and cannot become 4"):
        load(hub_folder, heads=4)


def test_presets_have_the_published_sizes():
    """Parameters of the published models: 5.5, 9.6, 22 and 86 million."""
    for name, millions in (("tiny", 5.5), ("mini", 9.6), ("small", 22), ("base", 86)):
        model = create(f"ced-{name}")
        count = sum(value.numel() for value in model.parameters()) / 1e6
        assert count == pytest.approx(millions, rel=0.03)
        assert model.grid.count == 4 * 63
