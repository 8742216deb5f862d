"""Paths that the system refuses, in every option and recipe key that takes one: a sentence."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small_grid import write_grid
from spectrim.cli.main import app
from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer

GOLDEN = Path(__file__).parents[1] / "golden"

BAD = {
    "long": "n" * 300,
    "device": "/dev/zero",
    "user": "~nosuchuser/x",
    "below a file": "clips.csv/x",
    "address": "https://host.org/x",
}
# Command, the parameter that is bad, and a call. Everything else in the call is right.
CALLS = [
    ("tag", "files", "tag BAD --model model"),
    ("tag", "model", "tag clips --model BAD"),
    ("tag", "out", "tag clips --model model --out BAD/x.csv"),
    ("tag", "load", "tag clips --model model --load labels=BAD"),
    ("tag", "thresholds", "tag clips --model model --thresholds BAD"),
    ("tag", "plot", "tag clips/0.wav --model model --events --plot BAD/x.png"),
    ("thresholds", "model", "thresholds BAD --data clips.csv --out t.json"),
    ("thresholds", "data", "thresholds model --data BAD --out t.json"),
    ("thresholds", "out", "thresholds model --data clips.csv --out BAD/t.json"),
    ("embed", "files", "embed BAD --model model --out e.csv"),
    ("embed", "model", "embed clips --model BAD --out e.csv"),
    ("embed", "out", "embed clips --model model --out BAD/x.csv"),
    ("sweep", "model", "sweep --model BAD --data clips"),
    ("sweep", "data", "sweep --model model --data BAD"),
    ("sweep", "out", "sweep --model model --data clips --out BAD"),
    ("check", "model", "check BAD --data clips"),
    ("check", "data", "check model --data BAD"),
    ("check", "out", "check model --data clips --out BAD"),
    ("analyze", "model", "analyze --model BAD --data clips"),
    ("analyze", "data", "analyze --model model --data BAD"),
    ("analyze", "out", "analyze --model model --data clips --out BAD"),
    ("ablate", "model", "ablate --model BAD --data clips.csv"),
    ("ablate", "data", "ablate --model model --data BAD"),
    ("ablate", "out", "ablate --model model --data clips.csv --out BAD"),
    ("convert", "model", "convert BAD --out x"),
    ("convert", "data", "convert model --out x --data BAD"),
    ("convert", "out", "convert model --out BAD"),
    ("export", "model", "export BAD --out x.onnx"),
    ("export", "out", "export model --out BAD"),
    ("export", "calibrate", "export model --out x.onnx --quantize int8 --calibrate BAD"),
    ("bench", "model", "bench --model BAD"),
    ("bench", "out", "bench --model model --out BAD"),
    ("bench", "calibrate", "bench --model model --quantize int8 --calibrate BAD"),
    ("macs", "model", "macs BAD"),
    ("models", "name", "models BAD"),
    ("train", "recipe", "train BAD"),
    ("train", "out", "train tones.yaml --out BAD"),
    ("train", "data.manifest", "train tones.yaml data.manifest=BAD"),
    ("train", "data.labels", "train tones.yaml data.labels=BAD"),
    ("train", "data.cache", "train tones.yaml data.cache=BAD"),
    ("train", "init", "train tones.yaml init=BAD"),
    ("train", "teacher.model", "train tones.yaml teacher.model=BAD"),
    ("pretrain", "recipe", "pretrain BAD"),
    ("pretrain", "out", "pretrain pretrain.yaml --out BAD"),
    ("pretrain", "data.manifest", "pretrain pretrain.yaml data.manifest=BAD"),
    ("pretrain", "init", "pretrain pretrain.yaml init=BAD"),
    ("grid list", "grid", "grid list BAD --out g"),
    ("grid list", "out", "grid list small.yaml --out BAD"),
    ("grid run", "grid", "grid run BAD --out g"),
    ("grid run", "out", "grid run small.yaml --out BAD"),
    ("grid report", "grid", "grid report BAD --out g"),
    ("grid report", "out", "grid report small.yaml --out BAD"),
    ("grid report", "page", "grid report grid-data/grid.yaml --out grid-data --page BAD"),
    ("data prepare", "folder", "data prepare fsdd BAD --out x"),
    ("data prepare", "out", "data prepare fsdd corpus --out BAD"),
    ("data stats", "manifest", "data stats BAD"),
]


def commands() -> Iterator[tuple[str, Any]]:
    """Names of all commands, and the functions that they call."""
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            yield f"{group.name} {command.name}", command.callback
    for command in app.registered_commands:
        yield str(command.name), command.callback


def test_every_parameter_that_takes_a_path_is_below():
    taken = {
        (name, parameter.name)
        for name, callback in commands()
        for parameter in inspect.signature(callback).parameters.values()
        if "Path" in str(parameter.annotation) or parameter.name in ("model", "models")
    }
    assert len(taken) > 25
    assert taken <= {(command, parameter) for command, parameter, _ in CALLS}


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory):
    """What the calls above need."""
    place = write_grid(tmp_path_factory.mktemp("place"))
    # One block is enough: every call loads the model, and its depth does not matter here.
    config = preset("ast-tiny", ("low", "high"), frames=64, depth=1, activation="softmax",
                    metric="accuracy")  # fmt: skip
    SpectrogramTransformer(config).save(place / "model")
    shutil.copytree(folder / "clips", place / "clips")
    shutil.copy(folder / "clips.csv", place)
    (place / "corpus" / "recordings").mkdir(parents=True)
    shutil.copy(folder / "clips" / "0.wav", place / "corpus" / "recordings" / "7_jackson_32.wav")
    shutil.copytree(GOLDEN / "release-0.1" / "grid", place / "grid-data")
    grid = place / "grid-data" / "grid.yaml"
    grid.write_text(grid.read_text().replace("variation", "variation-padded"))
    return place


# Every call with every kind of path. In the normal run, each call gets two of the kinds.
# `grid list` writes nothing, and lists a folder without results as one.
CASES = [
    pytest.param(
        parameter, call, kind, id=f"{call}-{kind}",
        marks=() if (number + position) % len(BAD) in (0, 2) else pytest.mark.slow,
    )
    for number, (command, parameter, call) in enumerate(CALLS)
    for position, kind in enumerate(BAD)
    if (command, parameter) != ("grid list", "out") or kind not in ("below a file", "address")
]  # fmt: skip


@pytest.mark.parametrize(("parameter", "call", "kind"), CASES)
def test_a_path_that_the_system_refuses_is_a_sentence(run, place, parameter, call, kind):
    before = sorted(path.name for path in place.iterdir())
    words = [word.replace("BAD", BAD[kind]) for word in call.split()]
    done = run(*words, cwd=place)
    text = "".join(done.stderr.split())
    is_item = parameter == "files" and kind in ("device", "below a file", "address")
    # A table is not begun if none of its recordings can be listed.
    is_item |= parameter == "files" and kind == "long" and "--out" not in call
    assert done.returncode == (1 if is_item else 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert BAD[kind].partition("/x")[0].strip("~")[:100] in text, done.stderr
    after = sorted(path.name for path in place.iterdir())
    written = (
        set(after) - set(before) - {"g", "runs", "e.csv", "e.csv.job"}
    )  # the default folders for results
    assert all(name.startswith("spectrim-") for name in written)
