"""Checkpoints inside other things: wrappers, training state, shards."""

from __future__ import annotations

import json

import foreign
import pytest
import safetensors.torch
import torch

from parameters import each_value
from spectrim.common.errors import SpectrimError
from spectrim.models.loading.load import load

pytestmark = pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")

LIGHTNING = {
    "epoch": 3, "global_step": 100, "pytorch-lightning_version": "2.5.0", "loops": {},
    "callbacks": {}, "optimizer_states": [], "lr_schedulers": [], "hyper_parameters": {"lr": 1e-4},
}  # fmt: skip


def renamed(state, change):
    return {change(name): value for name, value in state.items()}


def plain(name: str) -> str:
    return name.removeprefix("module.")


WRAPPED = {
    "compiled": lambda state: renamed(state, lambda name: f"_orig_mod.{plain(name)}"),
    "compiled and parallel": lambda state: renamed(state, lambda n: f"module._orig_mod.{plain(n)}"),
    "parallel and compiled": lambda state: renamed(state, lambda n: f"_orig_mod.module.{plain(n)}"),
    "compiled blocks": lambda state: renamed(
        state, lambda name: plain(name).replace(".attn.", "._orig_mod.attn.")
    ),
    "lightning": lambda state: (
        LIGHTNING | {"state_dict": renamed(state, lambda name: f"model.{plain(name)}")}
    ),
    "lightning, compiled": lambda state: (
        LIGHTNING | {"state_dict": renamed(state, lambda name: f"net._orig_mod.{plain(name)}")}
    ),
    "timm": lambda state: {"state_dict": renamed(state, plain), "epoch": 1, "arch": "vit"},
    "attribute": lambda state: renamed(state, lambda name: f"encoder.{plain(name)}"),
    "nested twice": lambda state: {"model": {"state_dict": renamed(state, plain), "epoch": 1}},
}


@each_value(kind=list(WRAPPED), family=["official_ast", "audiomae"])
def test_wrapped_checkpoints_are_the_same_model(tmp_path, kind, family):
    state = getattr(foreign, family)()
    torch.save(state, tmp_path / "plain.pth")
    torch.save(WRAPPED[kind](state), tmp_path / "wrapped.ckpt")
    features = torch.randn(1, 128, 128)
    expected, model = load(tmp_path / "plain.pth"), load(tmp_path / "wrapped.ckpt")
    torch.testing.assert_close(model(features), expected(features), rtol=0, atol=0)


def test_two_keys_that_differ_only_in_a_wrapper_are_refused(tmp_path):
    state = foreign.audiomae()
    torch.save(state | {"_orig_mod.cls_token": state["cls_token"]}, tmp_path / "m.pth")
    with pytest.raises(SpectrimError, match="two keys differ only in parts"):
        load(tmp_path / "m.pth")


def test_code_in_training_state_is_still_refused(tmp_path):
    class Own:
        pass

    path = tmp_path / "m.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("test_loading_wrapped.Own", Own, raising=False)
        Own.__qualname__ = "Own"
        torch.save({"state_dict": foreign.audiomae(), "callbacks": {"a": Own()}}, path)
    with pytest.raises(SpectrimError, match=r"holds more than weights .* run code"):
        load(path)


@pytest.fixture
def transformers_folder(tmp_path):
    from transformers import ASTConfig, ASTForAudioClassification

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=256,
        max_length=128, num_labels=3,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


def shards(folder, target, suffix=".safetensors"):
    """The same model in three files and an index, as `save_pretrained(max_shard_size=...)`."""
    target.mkdir()
    state = safetensors.torch.load_file(folder / "model.safetensors")
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = [f"{stem}-{n:05d}-of-00003{suffix}" for n in (1, 2, 3)]
    table = {key: names[index % 3] for index, key in enumerate(state)}
    for name in names:
        part = {key: state[key] for key in state if table[key] == name}
        if suffix == ".safetensors":
            safetensors.torch.save_file(part, target / name)
        else:
            torch.save(part, target / name)
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    (target / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target / f"{stem}{suffix}.index.json"


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_sharded_folders_are_read(tmp_path, transformers_folder, suffix):
    index = shards(transformers_folder, tmp_path / "sharded", suffix)
    features = torch.randn(1, 128, 128)
    expected = load(transformers_folder)(features)
    for source in (tmp_path / "sharded", index):
        torch.testing.assert_close(load(source)(features), expected, rtol=0, atol=0)


def test_shards_that_transformers_wrote_are_read(tmp_path, transformers_folder):
    from transformers import ASTForAudioClassification

    model = ASTForAudioClassification.from_pretrained(transformers_folder)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert len(list((tmp_path / "sharded").glob("*-of-*.safetensors"))) > 1
    features = torch.randn(1, 128, 128)
    expected = load(transformers_folder)(features)
    torch.testing.assert_close(load(tmp_path / "sharded")(features), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda index, table: index.write_text("[]"), "JSON object"),
        (lambda index, table: index.write_text("{}"), "weight_map is missing"),
        (lambda index, table: index.write_text('{"weight_map": {"a": 3}}'), "weight_map"),
        (lambda index, table: index.write_text('{"weight_map": {"a": "../a.bin"}}'), r"\.\./a"),
        (lambda index, table: index.write_text('{"weight_map": {"a": "/dev/zero"}}'), "dev/zero"),
        (
            lambda index, table: index.write_text(
                json.dumps({"weight_map": table | {"more": next(iter(table.values()))}})
            ),
            "disagree on 'more'",
        ),
        (
            lambda index, table: (index.parent / next(iter(table.values()))).unlink(),
            "00001-of-00003.*no such file",
        ),
    ],
)
def test_damaged_shards_are_named(tmp_path, transformers_folder, change, text):
    index = shards(transformers_folder, tmp_path / "sharded")
    change(index, json.loads(index.read_text())["weight_map"])
    with pytest.raises(SpectrimError, match=text):
        load(tmp_path / "sharded")


def test_one_shard_alone_names_its_folder(tmp_path, transformers_folder):
    shards(transformers_folder, tmp_path / "sharded")
    with pytest.raises(SpectrimError, match=r"one of several files .* Pass its folder"):
        load(tmp_path / "sharded" / "model-00001-of-00003.safetensors")


def test_an_unknown_model_of_a_known_type_is_no_contradiction(tmp_path, transformers_folder):
    weights = transformers_folder / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    odd = {f"part{n % 2}.x{n}": value for n, value in enumerate(state.values())}
    safetensors.torch.save_file(odd, weights)
    with pytest.raises(SpectrimError, match=r"config\.json describes AST .* other names: 'part0"):
        load(transformers_folder)
    config = json.loads((transformers_folder / "config.json").read_text())
    (transformers_folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(SpectrimError, match=r"a model of type 'bert'\. Spectrim reads"):
        load(transformers_folder)


def test_hidden_files_are_not_weights(tmp_path, transformers_folder):
    for name in ("._model.safetensors", ".model.ab12-1-00000000.safetensors", ".other.pth"):
        (transformers_folder / name).write_bytes(b"\0" * 100)
    load(transformers_folder)
    (transformers_folder / "model.safetensors").rename(transformers_folder / "renamed.safetensors")
    load(transformers_folder)
    (transformers_folder / "renamed.safetensors").unlink()
    with pytest.raises(SpectrimError, match="no weights"):
        load(transformers_folder)
