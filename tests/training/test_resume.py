"""Killed at any moment, and started again with the same command: the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spectrim.training.loop import Interrupted
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent
from spectrim.training.run import train
from tones import RECIPE, write_recipe

Call = Callable[..., subprocess.CompletedProcess[str]]
DRAWING = RECIPE.replace("frames: 64", "frames: 64, drop_path: 0.1")  # by PyTorch's generator


KILLED = """
import os, signal, sys
from pathlib import Path

from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent
from spectrim.training.run import train

class Killed(Silent):
    def step(self, facts):
        if facts["step"] == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

train(read_recipe(Path(sys.argv[1]), ["run.save_every=0"], Recipe), Path(sys.argv[2]), Killed())
"""


def run_process(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
        capture_output=True,
        timeout=300,
    )


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps_saved(out: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (out / "state").glob("step-*"))


def rows(out: Path) -> list[dict[str, object]]:
    timed = ("seconds", "clips_per_s")
    lines = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in timed} for row in lines]


@pytest.fixture
def recipe(tones: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tones, DRAWING)


@pytest.fixture(scope="module")
def whole(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = write_recipe(folder, tones, DRAWING)
    train(read_recipe(recipe, [], Recipe), folder / "run", Silent())
    return folder / "run"


def check_resumed(recipe: Path, out: Path, whole: Path, stopped: int, run_spectrim: Call) -> None:
    """The same command resumes after step `stopped` and ends in the same bits."""
    assert max(steps_saved(out)) == stopped
    done = run_spectrim("train", recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"resumes from step {stopped} of 6" in done.stderr
    assert same(out / "last", whole / "last")
    assert same(out / "best", whole / "best")
    assert rows(out) == rows(whole)


@pytest.mark.slow  # tests/kills also kills a training
@pytest.mark.parametrize("step", [2, 5])
def test_a_killed_run_goes_on_to_the_same_bits(
    step: int, recipe: Path, tmp_path: Path, whole: Path, run_spectrim: Call
) -> None:
    """Killed in the middle of an epoch of three steps, before the state of that step is saved."""
    out = tmp_path / "run"
    killed = run_process("-c", KILLED, recipe, out, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    check_resumed(recipe, out, whole, step - 1, run_spectrim)


@pytest.mark.slow  # an interruption in the process of the test is tested below
def test_an_interrupted_command_saves_its_state_and_goes_on_to_the_same_bits(
    recipe: Path, tmp_path: Path, whole: Path, run_spectrim: Call
) -> None:
    """The signal comes after step 1; the loop asks for it in step 2."""
    out = tmp_path / "run"
    words = ["-m", "spectrim", "train", recipe, "--out", out]
    stopped = run_process(*words, SPECTRIM_STOP_AT="train:steps:1")
    assert stopped.returncode == 130, stopped.stderr.decode()
    assert "stopped: after step 2 of 6" in stopped.stderr.decode()
    check_resumed(recipe, out, whole, 2, run_spectrim)


def test_a_run_stopped_at_an_epochs_end_has_that_epoch(
    recipe: Path, tmp_path: Path, whole: Path
) -> None:
    """The signal comes in the second step of three: the third ends the epoch, and the run."""

    class Stops(Silent):
        def step(self, facts: dict[str, float]) -> None:
            if facts["step"] == 2:
                signal.raise_signal(signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="after step 3 of 6"):
        train(read_recipe(recipe, [], Recipe), out, Stops())
    assert len(rows(out)) == 1 and (out / "last").is_dir()
    train(read_recipe(recipe, [], Recipe), out, Silent())
    assert rows(out) == rows(whole)
    assert same(out / "last", whole / "last")


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_clips_held_in_memory_or_decoded_in_every_epoch_give_the_same_bits(
    on_device: str, recipe: Path, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "run"
    train(read_recipe(recipe, [f"data.on_device={on_device}"], Recipe), out, Silent())
    assert same(out / "last", whole / "last") and rows(out) == rows(whole)


def test_a_run_may_resume_with_its_clips_elsewhere(
    recipe: Path, tmp_path: Path, whole: Path
) -> None:
    class Stops(Silent):
        def step(self, facts: dict[str, float]) -> None:
            if facts["step"] == 1:
                signal.raise_signal(signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="after step 2 of 6"):
        train(read_recipe(recipe, ["data.on_device=false"], Recipe), out, Stops())
    train(read_recipe(recipe, ["data.on_device=true"], Recipe), out, Silent())
    assert same(out / "last", whole / "last") and rows(out) == rows(whole)


def test_a_finished_run_says_its_result_again(whole: Path, run_spectrim: Call) -> None:
    before = (whole / "last" / "model.safetensors").stat().st_mtime_ns
    recipe = whole.parent / "recipe.yaml"
    done = run_spectrim("train", recipe, "--out", whole, "--json")
    assert json.loads(done.stdout)["last"]["step"] == 6
    assert (whole / "last" / "model.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_without_its_state_is_not_trained_anew(
    whole: Path, tmp_path: Path, run_spectrim: Call
) -> None:
    """docs/train.md says to delete the state when one is done."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "state")
    (out / "last" / "model.safetensors").write_bytes(b"as it was")
    found = run_spectrim("train", whole.parent / "recipe.yaml", "--out", out)
    assert found.returncode == 0 and "is finished" in found.stderr, found.stderr
    assert (out / "last" / "model.safetensors").read_bytes() == b"as it was"
