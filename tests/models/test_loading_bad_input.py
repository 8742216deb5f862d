"""Files that cannot be loaded: each is named, with what is wrong and what would be right."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import foreign
import pytest
import torch

from spectrim.common.errors import SpectrimError
from spectrim.models.loading.load import load

pytestmark = [
    pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
]


WINDOWED = {  # keys of the original code; DTF-AT's are those of timm's MaxViT with two attentions
    "HTS-AT": "sed_model.layers.0.blocks.0.attn.relative_position_bias_table",
    "Swin transformer": "swin.layers.0.blocks.0.attention.self.relative_position_bias_table",
    "DTF-AT": "module.v.stages.0.blocks.0.attn.attn_block_t.rel_pos.relative_position_bias_table",
}


@pytest.mark.parametrize("model", WINDOWED)
def test_attention_in_windows_is_refused_with_the_model_and_the_reason(tmp_path, model):
    state = {WINDOWED[model]: torch.ones(225, 4), "patch_embed.proj.bias": torch.ones(96)}
    torch.save({"state_dict": state, "pytorch-lightning_version": "1.5"}, tmp_path / "h.ckpt")
    text = refused(tmp_path / "h.ckpt", model, "Top-k", "holes", "docs/prune-your-model.md")
    assert ("DTF-AT" in text) == (model == "DTF-AT")


RELATIVES = {  # keys of the original code that the format is recognised by
    "BEATs": {"patch_embedding.weight": (48, 1, 16, 16), "encoder.layer_norm.weight": (96,)},
    "M2D": {"cls_token": (1, 1, 96), "patch_embed.proj.bias": (96,), "norm_stats": (2,)},
    "ATST": {"model.teacher.encoder.patch_embed.patch_embed.weight": (64, 256)},
    "Dasheng": {"init_bn.1.weight": (64,), "time_pos_embed": (1, 64, 1, 252),
                "patch_embed.proj.weight": (64, 1, 64, 4)},
}  # fmt: skip


@pytest.mark.parametrize("model", RELATIVES)
def test_a_relative_without_a_converter_is_named(tmp_path, model):
    state = {name: torch.ones(shape) for name, shape in RELATIVES[model].items()}
    torch.save({"model": state, "cfg": {}, "label_dict": {0: "/m/09x0r"}}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", f"holds {model}", "docs/prune-your-model.md#backbones")


def refused(path: Path, *words: str, **options) -> str:
    with pytest.raises(SpectrimError) as error:
        load(path, **options)
    text = str(error.value)
    for word in (path.name, *words):
        assert word in text
    assert "weights_only" not in text  # torch's advice is to read it unsafely
    return text


class Touch:
    """Pickled, it touches a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("write", ["zip", "legacy", "pickle"])
def test_no_pickle_is_executed(tmp_path, suffix, write, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, target = tmp_path / f"model{suffix}", tmp_path / "touched"
    content = {"model": foreign.audiomae(), "args": Touch(target)}
    if write == "pickle":
        path.write_bytes(pickle.dumps(Touch(target)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    refused(path, "run code", "149" if write == "pickle" else "posix.system")
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_empty_truncated_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"")
    refused(path)
    if suffix == ".pth":
        torch.save(foreign.audiomae(), path)
        path.write_bytes(path.read_bytes()[:-1000])
        refused(path, "not a whole one")
        torch.save(foreign.audiomae(), path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-1000])
        refused(path, "not a whole one")
    path.write_bytes(b"RIFF, and not a model at all" * 10)
    refused(path)
    refused(tmp_path / f"absent{suffix}", "no such file")


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"a": torch.ones(1)}, {"a": 1}])
def test_a_checkpoint_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    refused(tmp_path / "other.pth")


MODELS = {"ast": foreign.official_ast, "audiomae": foreign.audiomae}


@pytest.mark.parametrize("family", MODELS)
def test_a_missing_key_is_named(tmp_path, family):
    path = tmp_path / "model.pth"
    whole = MODELS[family]()
    skipped = ("v.head", "module.v.head", "norm.")
    for key in whole:
        if not key.startswith(skipped):
            torch.save({k: v for k, v in whole.items() if k != key}, path)
            refused(path, key.removeprefix("module."))


@pytest.mark.parametrize("family", MODELS)
def test_an_unexpected_key_and_a_wrong_shape_are_named(tmp_path, family):
    path, whole = tmp_path / "model.pth", MODELS[family]()
    name = next(key for key in whole if "fc1.weight" in key)
    odd = name.replace("fc1", "fc3")
    torch.save(whole | {odd: torch.ones(1)}, path)
    refused(path, "unexpected", odd.removeprefix("module."))
    torch.save(whole | {name: torch.ones(7, 128)}, path)
    refused(path, name.removeprefix("module."), "(7, 128)", "(512, 128)")
    torch.save(whole | {name: torch.ones(512, 128, dtype=torch.int8)}, path)
    refused(path, name.removeprefix("module."), "int8")
    torch.save({"model": whole, "surprise": 1}, path)
    refused(path, "surprise")


def test_an_image_model_of_timm_is_not_taken_for_audiomae(tmp_path):
    state = foreign.audiomae() | {"patch_embed.proj.weight": torch.ones(128, 3, 16, 16)}
    torch.save(state, tmp_path / "vit.pth")
    refused(tmp_path / "vit.pth", "(128, 3, 16, 16)", "(any, 1, 16, 16)")


def test_an_unknown_count_of_patches_wants_a_stride(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(foreign.audiomae(80), path)
    refused(path, "80 patches", "stride=")
    refused(path, "80 patches", "rows of 12", stride=10)
    with pytest.raises(SpectrimError, match="stride"):
        load(path, stride=0)
    assert load(path, stride=16).config.frames == 160
    torch.save(foreign.audiomae(0), path)
    refused(path, "0 patches", stride=16)


def test_folders_without_a_model(tmp_path):
    refused(tmp_path, "no weights")
    (tmp_path / "config.json").write_text('{"model_type": ')
    refused(tmp_path, "config.json", "not valid JSON")
    refused(tmp_path / "config.json", "settings, not weights", f"its folder: {tmp_path}")
    (tmp_path / "config.json").write_text("[1]")
    refused(tmp_path, "config.json", "JSON object")
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    refused(tmp_path, "no weights")
    torch.save({"encoder.weight": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, "wav2vec2")
    for name in ("a.pth", "b.pth"):
        torch.save({}, tmp_path / name)
    (tmp_path / "pytorch_model.bin").unlink()
    refused(tmp_path, "a.pth", "b.pth")


def test_the_folder_of_a_training_run_names_its_models(tmp_path):
    for name in ("last", "best"):
        (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(SpectrimError, match=r"training run; its models: .*run/last and .*run/best"):
        load(tmp_path / "run")
