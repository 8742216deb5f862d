"""Checkpoints and configs made to take all memory, and values that nobody checks."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import foreign
import pytest
import safetensors.torch
import torch

from spectrim import create
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.config import ModelConfig
from spectrim.models.loading.load import load
from spectrim.models.presets import from_family, preset
from spectrim.models.transformer import SpectrogramTransformer

pytestmark = pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model of one block, because each test copies its files."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    config = preset("ast-tiny", ("a", "b"), frames=64, depth=1)
    return SpectrogramTransformer(config).save(folder)


@pytest.fixture
def folder(saved, tmp_path):
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_config(folder, part, **values):
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config).update(values)
    (folder / "config.json").write_text(json.dumps(config))


def refused(path, *words):
    with pytest.raises(SpectrimError) as error:
        load(path)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert len(str(error.value)) < 1500


VIEWS = {
    "expanded": lambda shape: torch.zeros(1).expand(*shape),
    "overlapping": lambda shape: torch.zeros(100).as_strided(shape, [0] * len(shape)),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_one_number_are_refused(tmp_path, view, legacy):
    state = foreign.audiomae()
    shape = (2**20, 2**20)
    state["blocks.0.mlp.fc1.weight"] = VIEWS[view](shape)
    torch.save(state, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    refused(tmp_path / "m.pth", "blocks.0.mlp.fc1.weight", str(shape), "stores only")


def test_many_tensors_over_the_same_numbers_are_refused(tmp_path):
    shared = torch.zeros(512, 128)
    state = {f"blocks.{n}.mlp.fc1.weight": shared for n in range(1000)}
    torch.save(state | {"patch_embed.proj.weight": shared}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "the file stores only 262,144")


def test_tied_weights_are_read(tmp_path):
    state = foreign.audiomae()
    state["blocks.1.norm1.weight"] = state["blocks.0.norm1.weight"]
    torch.save(state, tmp_path / "m.pth")
    load(tmp_path / "m.pth")


def test_compressed_archives_are_refused(tmp_path):
    torch.save(foreign.audiomae() | {"mask_token": torch.zeros(1, 1, 2**20)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as archive,
        zipfile.ZipFile(tmp_path / "m.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in archive.infolist():
            bomb.writestr(entry.filename, archive.read(entry))
    refused(tmp_path / "m.pth", "compressed archive")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(512, 128).to(torch.float8_e4m3fn),
        torch.ones(512, 128, dtype=torch.complex64),
        torch.ones(512, 128).to_sparse(),
        torch.ones(512, 128, device="meta"),
        torch.quantize_per_tensor(torch.ones(512, 128), 0.1, 0, torch.qint8),
        "text",
        [1.0],
        None,
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_other_kinds_of_numbers_are_named(tmp_path, tensor):
    state = foreign.audiomae() | {"blocks.0.mlp.fc1.weight": tensor}
    torch.save(state, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "m.pth")


def test_float8_in_our_own_folder_is_named(folder):
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    digest = json.loads((folder / "config.json").read_text())["weights_digest"]
    state["head.weight"] = state["head.weight"].to(torch.float8_e5m2)
    safetensors.torch.save_file(state, path, {"weights_digest": digest})
    refused(folder, "head.weight", "float8_e5m2", "16 to 64 bits")


HUGE = {"depth": 2**31, "width": 2**40, "frames": 10**12, "heads": 2**30, "mels": 10**9,
        "num_prefix_tokens": 10**9}  # fmt: skip


@pytest.mark.parametrize("key", HUGE)
def test_a_huge_config_is_refused_before_anything_is_built(folder, key):
    change_config(folder, "model", **{key: HUGE[key]})
    refused(folder, "config.json", key if key != "heads" else "heads")


PLAUSIBLE = {"depth": 1000, "width": 65_536, "frames": 9_000_000, "labels": ["x"] * 100_000,
             "num_prefix_tokens": 1000}  # fmt: skip


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("key", PLAUSIBLE)
def test_a_large_config_is_compared_with_the_weights_first(folder, key, learned, monkeypatch):
    def build(*_, **__):
        raise AssertionError("built")

    change_config(folder, "model", learned_positions=learned, **{key: PLAUSIBLE[key]})
    monkeypatch.setattr("spectrim.models.loading.load.without_memory", build)
    refused(folder, "model.safetensors", "expected" if key != "depth" else "blocks.999")


def test_a_failed_allocation_is_a_sentence(folder, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr("spectrim.models.loading.load.adapt", fail)
    refused(folder, "does not fit into memory")
    with pytest.raises(SpectrimError, match="at most 10000000"):
        load(folder, frames=10**12)


BAD_VALUES: dict[str, list[Any]] = {
    "labels": ["dog", 3, None, [], [1, 2], [None, "a"], {"0": "a"}, True],
    "mean": [True, "x", None, [], float("nan"), 10**400],
    "std": [0, -1, False, "1", float("inf")],
    "eps": ["x", [], None, -1, True],
    "head_eps": ["x", {}, None],
    "learned_positions": [[], 1, "true", None],
    "frequency_major": [0, "no", None],
    "activation": ["x", None, 1, []],
    "metric": ["auc", 2],
    "pool": ["mean", None, []],
    "padding": ["ones", None],
    "depth": [0, -1, 2.5, "12", True, None],
    "heads": [0, 3, "2", None],
    "width": [0, 1.5, None, "128", -128],
    "frames": [0, 15, -64, 64.5, None, "64"],
    "mels": [0, None, True],
    "stride": [None, 0, 17, [16], [16, 16, 16], [16, 2.5], "16", True, [True, 1]],
    "num_prefix_tokens": [[2], -1, None, "2", 0],
    "name": [None, 3, []],
    "family": [None, 3],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in BAD_VALUES.items() for v in vs])
def test_config_values_are_checked(folder, key, value):
    change_config(folder, "model", **{key: value})
    refused(folder, "config.json", key.partition("_")[0] if key != "labels" else "label")


@pytest.mark.parametrize(
    "values",
    [
        {"plan": None}, {"plan": []}, {"plan": "x"}, {"plan": {}}, {"plan": {"version": 1}},
        {"plan": {"version": 1, "stages": None}}, {"plan": {"version": 1, "stages": [None]}},
        {"plan": {"version": 1, "stages": [{}]}}, {"plan": {"version": 1, "stages": ["x"]}},
        {"plan": {"version": 1, "stages": [{"at": [], "score": 3, "reduction": None}]}},
        {"plan": {"version": 1, "stages": [{"at": 3, "keep_rate": 0.5, "score": "attention",
                                            "reduction": "keep-top", "more": 1}]}},
        {"plan": {"version": 1, "stages": [{"at": 3, "keep_rate": 0.5, "score": "attention",
                                            "reduction": "keep-top", "score_options": []}]}},
        {"plan": {"version": [], "stages": []}}, {"model": None}, {"model": []}, {"version": []},
        {"model": {"name": "x"}}, {"format": ["spectrim"]},
    ],
)  # fmt: skip
def test_the_structure_of_a_config_is_checked(folder, values):
    change_config(folder, None, **values)
    refused(folder, str(folder))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_deep_json_beside_weights_is_a_sentence(tmp_path, name):
    torch.save(foreign.audiomae(), tmp_path / "pytorch_model.bin")
    (tmp_path / name).write_text('{"a":' * 50_000)
    refused(tmp_path, name)


def test_old_configs_without_limits_still_load(folder):
    change_config(folder, "model", labels=["a", "b"], name="")
    load(folder)


def test_configs_from_python_are_checked_too():
    with pytest.raises(SpectrimError, match=r"^labels is 'abc'; expected a list of texts"):
        ModelConfig("x", "abc", "ast")
    with pytest.raises(SpectrimError, match=r"^depth is 2000000000; expected at least 1 and"):
        from_family("ast", name="x", labels=["a"], depth=2_000_000_000)
    with pytest.raises(SpectrimError, match="1000000000000 classes"):
        create("ast-tiny", classes=10**12)


@pytest.mark.parametrize(
    ("labels", "text"),
    [(["a", "b", "a"], "several classes have the name 'a'"), (["a;b", "c"], "'a;b' contains ';'")],
)
def test_names_that_manifests_cannot_hold_are_noted(tmp_path, labels, text):
    with pytest.warns(SpectrimNotice, match=text):
        folder = create("ast-tiny", frames=64, labels=labels).save(tmp_path)
    with pytest.warns(SpectrimNotice, match=text):
        assert load(folder).labels == labels


def test_one_class_gets_a_sigmoid(tmp_path):
    assert create("ast-tiny", frames=64, classes=1).config.activation == "sigmoid"
    model = create("ast-tiny", frames=64, labels=["siren"], activation="softmax")
    with pytest.warns(SpectrimNotice, match="softmax probability is always 1"):
        load(model.save(tmp_path))
