"""Checkpoints of every format, one file of each changed."""

from __future__ import annotations

import contextlib
import random
import shutil
from functools import cache
from pathlib import Path

import torch
from fuzz_changes import changed_json, mutated

import spectrim

ROOT = Path(__file__).parents[2]


@cache
def checkpoints(folder: Path) -> list[Path]:
    """A checkpoint of every format: ours, Hugging Face's in one file and in several, files and hub
    folders of the other backbones, Lightning's, ONNX."""
    import foreign
    import foreign_backbones

    torch.manual_seed(0)
    model = spectrim.create("audiomae-tiny", frames=32, labels=["a"])
    paths = [spectrim.prune(model, 0.5).save(folder / "ours")]
    ast = foreign.official_ast()
    lightning = {"state_dict": {f"model.{key}": value for key, value in ast.items()}, "epoch": 3}
    for name, content in (
        ("ast.pth", ast), ("mae.pth", {"model": foreign.audiomae()}), ("l.ckpt", lightning),
        ("ced.pt", foreign_backbones.ced()), ("passt.pt", foreign_backbones.passt()),
        ("ssast.pth", foreign_backbones.ssast()),
        ("eat.pt", {"model": foreign_backbones.eat_of_fairseq(foreign_backbones.eat())}),
    ):  # fmt: skip
        torch.save(content, folder / name)
        paths.append(folder / name)
    for name, (make, config, extractor) in foreign_backbones.HUB_FOLDERS.items():
        paths.append(foreign_backbones.write_folder(folder / name, make(), config, extractor))
    with contextlib.suppress(ImportError):
        from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

        config = ASTConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=256, max_length=32, frequency_stride=16,
                           time_stride=16)  # fmt: skip
        for name, size in (("hugging-face", "5GB"), ("sharded", "100KB")):
            ASTForAudioClassification(config).save_pretrained(folder / name, max_shard_size=size)
            ASTFeatureExtractor(max_length=32).save_pretrained(folder / name)
            paths.append(folder / name)
    onnx = ROOT / "tests" / "golden" / "release-0.1" / "model-ast.onnx"
    return [*paths, *([onnx] if onnx.exists() else [])]


def changed_file(path: Path, data: bytes, rng: random.Random) -> bytes:
    """Half of all JSON texts with other values, also in the header of safetensors and in ONNX
    metadata; the other files with other bytes."""
    if rng.random() < 0.5:
        if path.suffix == ".json":
            return changed_json(data, rng)
        if path.suffix == ".safetensors":
            length = int.from_bytes(data[:8], "little")
            header = changed_json(data[8 : 8 + length], rng)
            return len(header).to_bytes(8, "little") + header + data[8 + length :]
        if path.suffix == ".onnx":
            with contextlib.suppress(ImportError):
                import onnx

                model = onnx.load_from_string(data)
                entry = rng.choice(model.metadata_props)
                old = entry.value.encode()
                is_json = old[:1] in b"{["
                new = changed_json(old, rng) if is_json else mutated(old, rng)
                entry.value = new.decode("utf-8", "replace")
                return bytes(model.SerializeToString())
    return mutated(data, rng)


def make_checkpoint(rng: random.Random, folder: Path) -> Path:
    """One file of one checkpoint changed: of a folder, often its config."""
    (folder / "good").mkdir(exist_ok=True)
    source = rng.choice(checkpoints(folder / "good"))
    target = folder / f"changed{source.suffix}"
    shutil.rmtree(folder / "changed", ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, target)
        victim = rng.choice(sorted(target.iterdir()))
    else:
        shutil.copy(source, target)
        victim = target
    victim.write_bytes(changed_file(victim, victim.read_bytes(), rng))
    return target


def read_checkpoint(path: Path) -> None:
    if path.suffix == ".onnx":
        spectrim.load_onnx(path)
    else:
        spectrim.load(path)
