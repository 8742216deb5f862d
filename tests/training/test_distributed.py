"""Two processes over gloo do what one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent
from spectrim.training.run import train
from tones import write_recipe, write_tones

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launched(kind: str) -> list[str]:
    port = free_port()
    if kind == "torchrun":
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
        return [*launcher, "--master_addr=127.0.0.1", f"--master_port={port}"]
    # Without --multi_gpu, accelerate starts processes on CPUs by MPI only.
    options = "--multi_gpu --num_processes=2 --num_machines=1 --mixed_precision=no"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options.split()]
    return [*launcher, "--dynamo_backend=no", f"--main_process_port={port}"]


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    return done


def curve(out: Path, key: str) -> list[float]:
    return [json.loads(line)[key] for line in (out / "epochs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 training clips, which batches of 10 do not divide: the last one has a single clip."""
    return write_tones(tmp_path_factory.mktemp("odd"), train=7, valid=1, test=3)


@pytest.fixture(scope="module")
def alone(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    folder = tmp_path_factory.mktemp("alone")
    # AdamW forgives any factor of the gradient; an L2 term beside it does not.
    optim = ["optim.name=adam", "optim.weight_decay=0.5", "optim.clip=null"]
    changes = [*optim, "optim.batch_size=10", "epochs=2"]
    arguments = ["train", str(write_recipe(folder, odd)), *changes]
    recipe = read_recipe(Path(arguments[1]), arguments[2:], Recipe)
    train(recipe, folder / "run", Silent())
    return arguments, folder / "run"


@pytest.mark.slow  # three processes import torch
@pytest.mark.parametrize("kind", ["torchrun", "accelerate"])
def test_two_processes_learn_what_one_learns(
    kind: str, alone: tuple[list[str], Path], tmp_path: Path
) -> None:
    check_same(kind, *alone, tmp_path / "run")


@pytest.mark.slow  # differs from the above in the objective only
def test_two_processes_draw_the_same_elastic_plans(odd: Path, tmp_path: Path) -> None:
    elastic = ["schedule.kind=elastic", "schedule.start=0", "schedule.length=0", "keep_rate=1.0"]
    changes = ["optim.name=adam", "optim.clip=null", "optim.batch_size=10", *elastic]
    arguments = ["train", str(write_recipe(tmp_path, odd)), *changes]
    train(read_recipe(Path(arguments[1]), arguments[2:], Recipe), tmp_path / "alone", Silent())
    check_same("torchrun", arguments, tmp_path / "alone", tmp_path / "run")


def check_same(kind: str, arguments: list[str], single: Path, pair: Path) -> None:
    """Run a command in two processes and compare with the same run in one."""
    run([*launched(kind), "-m", "spectrim", *arguments, "--out", str(pair)])
    np.testing.assert_allclose(curve(pair, "loss"), curve(single, "loss"), atol=1e-4)
    for split in ("valid", "test"):
        assert curve(pair, split) == curve(single, split)
    assert json.loads((pair / "summary.json").read_text())["devices"] == 2
    one, two = (load_file(path / "last" / "model.safetensors") for path in (single, pair))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=5e-4, err_msg=name)


@pytest.mark.slow
def test_every_clip_is_counted_once_over_all_processes(odd: Path, tmp_path: Path) -> None:
    lines = odd.read_text().splitlines()
    manifest = odd.with_name("seven.csv")
    manifest.write_text("\n".join(lines[:8]) + "\n")
    script = [str(HERE / "shared_evaluation.py"), str(manifest), str(tmp_path)]
    run([*launched("torchrun"), *script])
    run([sys.executable, *script])
    single = np.load(tmp_path / "1-0.npz")
    assert single["positions"].tolist() == list(range(7))
    for rank in (0, 1):
        found = np.load(tmp_path / f"2-{rank}.npz")
        assert found["positions"].tolist() == list(range(7))
        np.testing.assert_allclose(found["logits"], single["logits"], atol=1e-4)
        assert found["value"] == pytest.approx(float(single["value"]))
