"""EAT (and SSLAM): hub folders and fairseq files against a plain forward pass, and refusals."""

from __future__ import annotations

import argparse
import json

import foreign_backbones as foreign
import pytest
import torch
from safetensors.torch import save_file

from spectrim import create, load, prune
from spectrim.common.errors import SpectrimError, SpectrimNotice


@pytest.fixture
def state():
    return foreign.eat()


@pytest.fixture
def hub_folder(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(foreign.EAT_CONFIG))
    (tmp_path / "modeling_eat.py").write_text("raise SystemExit('remote code was executed')")
    return tmp_path


def fairseq_file(path, state, **others):
    content = {"args": argparse.Namespace(lr=1.0), "cfg": {"model": "eat"}, "criterion": None}
    content |= {"optimizer_history": [], "task_state": {}, "extra_state": {}}
    content |= {"model": foreign.eat_of_fairseq(state), "last_optimizer_state": {}} | others
    torch.save(content, path)
    return path


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_hub_folder_and_a_fairseq_file_differ_in_the_epsilon_of_one_norm(
    tmp_path, hub_folder, state
):
    x = torch.randn(1, 128, 128)
    model = load(hub_folder)
    config = model.config
    assert (config.family, config.frames, config.num_prefix_tokens) == ("eat", 128, 1)
    assert (config.norm_first, config.norm_after_embedding) == (False, True)
    assert (config.mean, config.std, config.padding) == (-4.268, 4.569, "zero")
    expected = foreign.run_eat(state, x, 1e-5)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)
    file = load(fairseq_file(tmp_path / "eat.pt", state), frames=128)
    assert (model.config.head_eps, file.config.head_eps) == (1e-5, 1e-6)
    expected = foreign.run_eat(state, x, 1e-6)
    torch.testing.assert_close(file(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_patches_are_dropped_after_the_first_norm_of_a_post_norm_block(hub_folder, state):
    x = torch.randn(1, 128, 128)
    pruned = prune(load(hub_folder), 0.5, blocks=[0])
    expected = foreign.run_eat(state, x, 1e-5, kept=32)
    torch.testing.assert_close(pruned(x), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, foreign.run_eat(state, x, 1e-5), atol=1e-2)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_longer_window_uses_more_of_the_fixed_table(hub_folder, state):
    x = torch.randn(1, 192, 128)
    model = load(hub_folder, frames=192)
    torch.testing.assert_close(model(x), foreign.run_eat(state, x, 1e-5), atol=1e-5, rtol=1e-4)


def test_a_pre_trained_folder_has_no_head(tmp_path, state):
    encoder = {k: v for k, v in state.items() if not k.startswith(("model.head", "model.fc_norm"))}
    save_file(encoder, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(foreign.EAT_CONFIG))
    with pytest.warns(SpectrimNotice, match=r"has no head.*mean nothing until you train it"):
        model = load(tmp_path, labels=["a", "b"])
    assert model(torch.randn(1, 128, 128)).shape == (1, 2)


class Foreign:
    """Stands for a class of fairseq or omegaconf in a pickle."""


def test_a_fairseq_file_with_foreign_classes_is_refused_with_the_way_out(tmp_path, state):
    path = fairseq_file(tmp_path / "eat.pt", state, cfg=Foreign())
    with pytest.raises(SpectrimError, match=r"could\s+run code.*Save only its state dict"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer_norm_first", True, "layer_norm_first is True"),
        ("mlp_ratio", 3, "mlp_ratio is 3"),
        ("hidden_act", "relu", "hidden_act is 'relu'"),
        ("depth", 7, r"depth is 7 .* but the weights have \d blocks"),
        ("img_size", [1024, 64], "img_size is"),
        ("img_size", 1024, "img_size is 1024"),
        ("img_size", ["long", 128], "'long' frames"),
    ],
)
def test_a_config_that_spectrim_does_not_compute(hub_folder, key, value, message):
    (hub_folder / "config.json").write_text(json.dumps(foreign.EAT_CONFIG | {key: value}))
    with pytest.raises(SpectrimError, match=message):
        load(hub_folder)


def test_presets():
    assert create("eat-base", classes=3).grid.count == 512
