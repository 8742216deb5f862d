"""Random inputs for each reader: bytes of good files that are changed, and made-up texts.

`KINDS` maps a kind to `(make, read)`: `make(rng, folder)` writes or returns one input, and
`read(input)` reads it as a user would. The same generator state gives the same input.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import spectrim
from spectrim.audio.decode import read as decode
from spectrim.common.errors import SpectrimError
from spectrim.data.manifest import read_data

ROOT = Path(__file__).parents[2]
FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_24"),
    ("W64", "PCM_16"), ("CAF", "PCM_16"), ("AU", "ULAW"),
]  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF]
Input = Any


class Refused(Exception):
    """A command ended with a sentence."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few changes of bytes: set, removed, repeated, inserted, cut; most near the beginning."""
    values = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not values:
            break
        near = min(len(values), rng.choice([64, 1024, len(values)]))
        start, length = rng.randrange(near), rng.choice([1, 1, 2, 4, 8, 200])
        change = rng.randrange(6)
        if change == 0:
            values[start : start + length] = bytes(
                rng.randrange(256) for _ in values[start : start + length]
            )
        elif change == 1:
            del values[start : start + length]
        elif change == 2:
            values[start:start] = values[start : start + length]
        elif change == 3:
            del values[start if rng.random() < 0.3 else len(values) - start :]
        elif change == 4:
            filled = bytes([rng.choice(NUMBERS)]) * length
            values[start : start + length] = filled[: len(values) - start]
        else:
            values[start] ^= 1 << rng.randrange(8)
    return bytes(values)


@cache
def sounds() -> list[bytes]:
    """A short clip in every format."""
    rng, files = np.random.default_rng(0), []
    for format, subtype in FORMATS:
        file = io.BytesIO()
        soundfile.write(file, rng.normal(0, 0.1, (6000, 2)), 16_000, subtype, format=format)
        files.append(file.getvalue())
    return files


def make_sound(rng: random.Random, folder: Path) -> Input:
    return mutated(rng.choice(sounds()), rng)


def read_sound(data: Input) -> None:
    samples = decode(data)
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()


@cache
def checkpoints(folder: Path) -> list[Path]:
    """A checkpoint of every format: ours, Hugging Face's, a .pth, AudioMAE's, ONNX."""
    import foreign

    paths = []
    torch.manual_seed(0)
    model = spectrim.create("ast-tiny", frames=32, labels=["a", "b"])
    model.blocks = model.blocks[:1]
    paths.append(spectrim.create("audiomae-tiny", frames=32, labels=["a"]).save(folder / "ours"))
    torch.save(foreign.official_ast(), folder / "ast.pth")
    torch.save({"model": foreign.audiomae()}, folder / "mae.pth")
    paths += [folder / "ast.pth", folder / "mae.pth"]
    with contextlib.suppress(ImportError):
        from transformers import ASTConfig, ASTForAudioClassification

        config = ASTConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=256, max_length=32, frequency_stride=16,
                           time_stride=16)  # fmt: skip
        ASTForAudioClassification(config).save_pretrained(folder / "hugging-face")
        paths.append(folder / "hugging-face")
    onnx = ROOT / "tests" / "golden" / "release-0.1" / "model-ast.onnx"
    return [*paths, *([onnx] if onnx.exists() else [])]


def make_checkpoint(rng: random.Random, folder: Path) -> Input:
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
    victim.write_bytes(mutated(victim.read_bytes(), rng))
    return target


def read_checkpoint(path: Input) -> None:
    if path.suffix == ".onnx":
        spectrim.load_onnx(path)
    else:
        spectrim.load(path)


def example(strategy: st.SearchStrategy[Any], rng: random.Random) -> Any:
    """One value that hypothesis draws; the generator's next number is its seed."""
    drawn = []

    @seed(rng.randrange(2**32))
    @settings(max_examples=5, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    return drawn[-1]


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["a.wav", "b.wav", "", "nan", "-1", "1e400", "0.1", "x;y", ";", "\0", "é", '"']
    ),
)
TABLES = st.tuples(
    st.lists(
        st.sampled_from(["path", "label", "split", "fold", "start", "end", "target_start", "PATH"])
        | CELLS, max_size=6,
    ),
    st.lists(st.lists(CELLS, max_size=6), max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "latin-1", "cp037"]),
)  # fmt: skip


def make_table(rng: random.Random, folder: Path) -> Input:
    header, rows, separator, code = example(TABLES, rng)
    text = "\n".join(separator.join(row) for row in [header, *rows])
    data = text.encode(code, "replace")
    path = folder / rng.choice(["table.csv", "table.json"])
    if path.suffix == ".json":
        clips = [{"wav": row[0] if row else 1, "labels": row[1:]} for row in rows]
        data = json.dumps({"data": clips}).encode()
    path.write_bytes(mutated(data, rng) if rng.random() < 0.5 else data)
    return path


def read_table(path: Input) -> None:
    manifest = read_data(path)
    assert manifest.clips


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["attention", "${oc.env:HOME}", "???", "${epochs}", "nowhere:x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=5,
)  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            ["epochs", "keep_rate", "blocks", "score", "model", "model.frames", "model.preset",
             "data.labels", "data.workers", "optim.lr", "schedule.kind", "load", "init", "seed",
             "teacher", "run.threads", "loss.name", "augment", "nothing"]
        ),
        VALUES,
    ),
    max_size=4,
)  # fmt: skip


def make_recipe(rng: random.Random, folder: Path) -> Input:
    """A recipe or grid of the repository, its bytes changed or some of its keys."""
    source = rng.choice(sorted([*ROOT.glob("recipes/*.yaml"), *ROOT.glob("grids/*.yaml")]))
    path = folder / source.name
    data = source.read_bytes()
    path.write_bytes(mutated(data, rng) if rng.random() < 0.5 else data)
    changes = [f"{key}={json.dumps(value)}" for key, value in example(CHANGES, rng)]
    return path, changes, source.parent.name == "grids"


def read_recipe_or_grid(pair: Input) -> None:
    from spectrim.experiments.definition import read_grid
    from spectrim.training.read_recipe import read_recipe
    from spectrim.training.recipe import PretrainRecipe, Recipe

    path, changes, is_grid = pair
    if is_grid:
        read_grid(path)
    else:
        kind = PretrainRecipe if path.name.startswith("pretrain") else Recipe
        read_recipe(path, changes, kind)


ODD = ["0", "-1", "1.5", "nan", "inf", "1e400", "", " ", ",", "0.5", "0.5,0.7", "3,6", "input",
       "every", "attention", "random", "tome", "/dev/zero", "n" * 300, "~nosuchuser/x", "clips",
       "clips.csv", "model", "a.wav", "é\u202e", "nowhere:x", "mix", "loudest", "json", "csv",
       "max", "cpu", "cuda:9", "float16", "std=0", "labels=a", "mean=x", "-", "--", "--json",
       "99999999999999999999"]  # fmt: skip
OPTIONS = ["--model", "--data", "--keep-rate", "--keep-rates", "--score", "--scores", "--blocks",
           "--reduction", "--reductions", "--channel", "--load", "--frames", "--dtype",
           "--device", "--hop", "--aggregate", "--format", "--split", "--fold", "--batch-size",
           "--threads", "--top", "--agreement"]  # fmt: skip
COMMANDS = [
    ["tag", "a.wav"], ["macs", "model"], ["macs"], ["models"], ["data", "stats"],
    ["data", "stats", "clips.csv"], ["sweep", "--no-timing", "--data", "clips"],
    ["check", "model", "--no-timing", "--data", "clips"], ["data", "prepare", "fsdd"],
    ["train", "recipe.yaml", "--dry-run"], ["nothing"],
]  # fmt: skip


def make_arguments(rng: random.Random, folder: Path) -> Input:
    """Words of a command, most of them odd, and the folder to run it in."""
    place = folder / "place"
    if not place.exists():
        (place / "clips").mkdir(parents=True)
        model = spectrim.create("ast-tiny", frames=32, labels=["low", "high"])
        model.save(place / "model")
        for name in ("a.wav", "clips/b.wav"):
            soundfile.write(place / name, np.random.default_rng(0).normal(0, 0.1, 6000), 16_000)
        (place / "clips.csv").write_text("path,label\na.wav,low\nclips/b.wav,high\n")
        shutil.copy(ROOT / "recipes" / "finetune.yaml", place / "recipe.yaml")
    words = list(rng.choice(COMMANDS))
    for _ in range(rng.randrange(4)):
        words += [rng.choice(OPTIONS), rng.choice(ODD)] if rng.random() < 0.8 else [rng.choice(ODD)]
    if "--model" not in words and words[0] in ("tag", "sweep"):
        words += ["--model", "model"]
    return place, words


def read_arguments(call: Input) -> None:
    from calls import call_spectrim

    place, words = call
    done = call_spectrim(tuple(words), place)
    assert done.returncode in (0, 1, 2), done.returncode
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert done.stderr.strip()
        raise Refused


KINDS: dict[str, tuple[Callable[[random.Random, Path], Input], Callable[[Input], None]]] = {
    "audio": (make_sound, read_sound),
    "checkpoint": (make_checkpoint, read_checkpoint),
    "table": (make_table, read_table),
    "recipe": (make_recipe, read_recipe_or_grid),
    "arguments": (make_arguments, read_arguments),
}
SENTENCES = (SpectrimError, Refused)
sys.setrecursionlimit(1000)
