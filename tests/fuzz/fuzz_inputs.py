"""Random inputs for each reader: bytes of good files that are changed, and made-up texts.

`KINDS` maps a kind to `(make, read)`: `make(rng, folder)` writes or returns one input, and
`read(input)` reads it as a user would. The same generator state gives the same input.
"""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from fuzz_arguments import Refused, make_arguments, read_arguments
from fuzz_changes import mutated
from fuzz_checkpoints import make_checkpoint, read_checkpoint
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from spectrim.audio.decode import duration_of
from spectrim.audio.decode import read as decode
from spectrim.common.errors import SpectrimError
from spectrim.data.manifest import read_data
from spectrim.deploy.read_thresholds import read_thresholds
from spectrim.deploy.recordings.input_recordings import recordings_of
from spectrim.models.labels import labels_in

ROOT = Path(__file__).parents[2]
FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_24"),
    ("W64", "PCM_16"), ("CAF", "PCM_16"), ("AU", "ULAW"),
]  # fmt: skip
Input = Any


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
    """A damaged sound as bytes or as a file, whole or joined with another; and a part of it."""
    data = mutated(rng.choice(sounds()), rng)
    if rng.random() < 0.15:
        data += rng.choice(sounds())
    start = rng.choice([None, None, 0.0, 0.1, 0.3, 5.0])
    end = None if start is None or rng.random() < 0.5 else start + 0.2
    channel = rng.choice(["mix", "mix", "loudest", 0, 1])
    if rng.random() < 0.5:
        return data, start, end, channel
    path = folder / f"sound{rng.choice(['.wav', '.ogg', '.mp3', '.m4a', '.w64', ''])}"
    path.write_bytes(data)
    return path, start, end, channel


def read_sound(part: Input) -> None:
    sound, start, end, channel = part
    duration_of(sound)
    samples = decode(sound, start, end, channel)
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()


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
        st.sampled_from(["path", "label", "split", "fold", "start", "end", "target_start", "PATH",
                         "threshold"])
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
    path = folder / rng.choice(list(TABLE_READERS))
    if path.name == "thresholds.json":
        data = json.dumps(example(VALUES, rng)).encode()
    elif path.suffix == ".json":
        clips = [{"wav": row[0] if row else 1, "labels": row[1:]} for row in rows]
        data = json.dumps({"data": clips}).encode()
    path.write_bytes(mutated(data, rng) if rng.random() < 0.5 else data)
    return path


TABLE_READERS: dict[str, Callable[[Path], Any]] = {
    "table.csv": lambda path: read_data(path).clips,
    "table.json": lambda path: read_data(path).clips,
    "thresholds.csv": read_thresholds,
    "thresholds.json": read_thresholds,
    "labels.txt": labels_in,
    "list.txt": lambda path: recordings_of([path]),
}


def read_table(path: Input) -> None:
    assert TABLE_READERS[path.name](path)


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


KINDS: dict[str, tuple[Callable[[random.Random, Path], Input], Callable[[Input], None]]] = {
    "audio": (make_sound, read_sound),
    "checkpoint": (make_checkpoint, read_checkpoint),
    "table": (make_table, read_table),
    "recipe": (make_recipe, read_recipe_or_grid),
    "arguments": (make_arguments, read_arguments),
}
SENTENCES = (SpectrimError, Refused)
sys.setrecursionlimit(1000)
