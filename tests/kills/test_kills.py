"""Commands killed at every named point: resumed, they write what an undisturbed run writes.

`SPECTRIM_STOP_AT=kill:POINT:COUNT` (see `spectrim.common.hooks`) kills a process before and after
each write and rename, and between steps. The normal run kills `save` a few times. `-m slow` kills
at `SPECTRIM_KILLS` points (default 200): as many of each command, evenly chosen among its points.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fork_server
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import spectrim
from tones import write_recipe, write_tones

OGG = re.compile(r"data:audio/ogg;base64,[^\"]*")
NEVER = "kill:file:write:1000000000"  # counts the points and stops at none
TIMES = ("seconds", "_s", "ms_", "clips_per_second", "started", "ended", "date")
RECIPE = """
epochs: 2
blocks: [2]
model: {preset: ast-tiny, frames: 32, mean: -4.0, std: 4.0}
data: {manifest: MANIFEST, workers: 1}
optim: {lr: 1.0e-3, batch_size: 4, clip: 1.0}
run: {threads: 1, save_every: 0, tensorboard: false}
"""
GRID = """
columns:
  tones: {recipe: recipe.yaml, task: tones, model: AST, runs: [[seed=0]]}
scores: [attention]
keep_rates: [0.5]
tuned: [epochs=1, schedule.start=0, schedule.length=0.5]
"""
COMMANDS = {
    "save": "export old --out new",
    "export": "export old --out x.onnx --input features",
    "sweep": "sweep --model old --data many.csv --scores attention,random --keep-rates 0.5 "
    "--no-timing --threads 1 --batch-size 2 --out results",
    "train": "train recipe.yaml keep_rate=0.5 schedule.start=0 schedule.length=1 --out run",
    "grid": "grid run grid.yaml --out cells",
    "analyze": "analyze --model old --data many.csv --scores intensity --blocks 1 --keep-rate 0.5 "
    "--sample 100 --threads 1 --batch-size 4 --examples 1 --out analysis",
    "ablate": "ablate --model old --data many.csv --after 1 --sample 100 --threads 1 "
    "--batch-size 4 --out ablation",
    # Its files are the cache of exports; the measured times are printed only.
    "bench": "bench --model old --backends onnxruntime --keep-rates 1.0,0.5 --rounds 1 "
    "--batch-sizes 1 --budget 1000 --no-memory --matmul-size 64 --threads 1",
}
FEW = {
    "save": ("file:rename:1", "file:renamed:1", "file:renamed:2"),
    "sweep": ("sweep:clips:9", "file:rename:2"),
    "train": ("file:write:18",),  # after the last state, before the last line of epochs.jsonl
}
Server = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, fork_server.__file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "200"}
        | {"TMPDIR": str(tmp_path_factory.mktemp("temporary"))},  # what killed commands leave there
    ) as process:  # fmt: skip

        def call(folder: Path, command: str, stop_at: str) -> dict[str, Any]:
            job = {"folder": str(folder), "words": command.split(), "stop_at": stop_at}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield call
        process.stdin.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, clips, a recipe and a grid; `new` holds an older model, to be replaced."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in (("old", 0), ("new", 1)):
        torch.manual_seed(seed)
        spectrim.create("ast-tiny", frames=64, labels=["low", "high"]).save(folder / name)
    rng = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, 9000), 16_000)
    (folder / "many.csv").write_text("\n".join(["path", *(f"{n}.wav" for n in range(12))]) + "\n")
    (folder / "clips").mkdir()
    write_recipe(folder, Path("clips") / write_tones(folder / "clips", 2, 1, 1).name, RECIPE)
    (folder / "grid.yaml").write_text(GRID)
    return folder


@pytest.fixture(scope="module")
def whole(server: Server, inputs: Path, tmp_path_factory: pytest.TempPathFactory):
    """`whole(name)`: the files of an undisturbed run, and how often it passes each point."""
    place = tmp_path_factory.mktemp("place") / "work"  # one place, as results hold paths
    known: dict[str, tuple[dict[str, Any], dict[str, int]]] = {}

    def whole(name: str) -> tuple[Path, dict[str, Any], dict[str, int]]:
        if name not in known:
            fresh(inputs, place)
            done = server(place, COMMANDS[name], NEVER)
            assert done["status"] == 0, done
            known[name] = (contents(place), done["counts"])
        return place, *known[name]

    return whole


def fresh(inputs: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(inputs, place)


def contents(place: Path) -> dict[str, Any]:
    """What a run wrote: bytes of files; JSON without its times, which differ between any two runs.

    Left out are the state and cache of a run, which only serve resuming.
    """
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_dir() or "/state/" in name or "/waveforms/" in name or path.name == "log.txt":
            continue
        if path.suffix in (".json", ".jsonl"):
            texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = [without_times(json.loads(text)) for text in texts]
        elif path.suffix == ".html":  # an Ogg stream has a random number
            found[name] = OGG.sub("", path.read_text())
        else:
            found[name] = path.read_bytes()
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_times(item)
            for key, item in value.items()
            if not any(key.endswith(word) or key.startswith(word) for word in TIMES)
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value


def kill_and_resume(server: Server, inputs: Path, whole: Any, name: str, point: str) -> None:
    place, expected, _ = whole(name)
    fresh(inputs, place)
    killed = server(place, COMMANDS[name], f"kill:{point}")
    assert killed["status"] == -9, (name, point, killed)
    for path in place.rglob("*.safetensors"):  # a file that has its name is whole
        if not any(part.startswith(".") for part in path.relative_to(place).parts):
            load_file(path)
    contents(place)  # every JSON file is whole
    done = server(place, COMMANDS[name], NEVER)
    assert done["status"] == 0, (name, point, done)
    now = contents(place)
    assert now.keys() == expected.keys(), (name, point)  # no temporary file is left either
    different = [file for file in expected if now[file] != expected[file]]
    assert not different, (name, point, different)
    for run in place.rglob("state"):
        assert len(list(run.iterdir())) <= 1, (name, point, "states of which one is the newest")


@pytest.mark.parametrize(
    ("name", "point"),
    [
        pytest.param(name, point, marks=() if name == "save" else pytest.mark.slow)
        for name in FEW
        for point in FEW[name]
    ],
)
def test_a_killed_command_resumes_to_the_same_bytes(server, inputs, whole, name, point):
    kill_and_resume(server, inputs, whole, name, point)


@pytest.mark.slow
def test_at_every_point(server, inputs, whole):
    """All points of all commands, or as many of each as SPECTRIM_KILLS allows.

    Commands take turns, so that a run that is stopped has tried points of all of them.
    SPECTRIM_KILLS_FILE names a file of JSON lines. A later run with the same file goes on from it.
    """
    limit = -(-int(os.environ.get("SPECTRIM_KILLS", 200)) // len(COMMANDS))
    journal = Path(os.environ.get("SPECTRIM_KILLS_FILE", os.devnull))
    turns: list[list[tuple[str, str]]] = []
    for name in COMMANDS:
        points = [
            (name, f"{point}:{count + 1}")
            for point, passed in whole(name)[2].items()
            for count in range(passed)
        ]
        step = max(1.0, len(points) / limit)
        turns.append([points[int(number * step)] for number in range(min(limit, len(points)))])
        print(f"{name}: {len(points)} points, {len(turns[-1])} kills", flush=True)
    outcomes = {}
    if journal.is_file():
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        outcomes = {(name, point): fault for name, point, fault in records}
    for name, point in filter(None, itertools.chain(*itertools.zip_longest(*turns))):
        if (name, point) in outcomes:
            continue
        try:
            kill_and_resume(server, inputs, whole, name, point)
            outcomes[name, point] = ""
        except AssertionError as error:
            outcomes[name, point] = str(error)
            print(name, point, str(error)[:500], flush=True)
        with journal.open("a") as file:
            file.write(json.dumps([name, point, outcomes[name, point]]) + "\n")
        if len(outcomes) % 20 == 0:
            print(len(outcomes), "kills", flush=True)
    failures = [f"{name} {point}: {fault}" for (name, point), fault in outcomes.items() if fault]
    counts = dict(Counter(name for name, _ in outcomes))
    print(f"{len(outcomes)} kills, {len(failures)} with a difference; {counts}", flush=True)
    assert not failures, failures
