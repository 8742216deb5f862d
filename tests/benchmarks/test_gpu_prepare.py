"""What `prepare.sh` collects for a GPU machine, and that its folder runs there by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
AGENDA = "benchmarks/gpu/agenda.sh"
# In place of a download, pip writes an empty file; there is none for the package "absent".
PIP = """#!/usr/bin/env bash
if [ "$1 $2" = "-m pip" ]; then
  echo "$@" >>"$(dirname "$0")/pip.log"
  while [ "$1" != -d ]; do shift; done
  [ "$3" != absent==1 ] && touch "$2/${3%%==*}-1-py3-none-any.whl"
else
  exec INTERPRETER "$@"
fi
"""


@pytest.fixture
def prepare(tmp_path):
    """`prepare(SIZE_MIB="50")`: run it with variables on two short clips of digits."""
    recordings = tmp_path / "corpora" / "FSDD" / "recordings"
    recordings.mkdir(parents=True)
    for name in ("0_x_0", "7_x_4", "7_x_5"):  # takes 0 to 4 are packed
        soundfile.write(recordings / f"{name}.wav", np.zeros(800), 8_000)
    python = tmp_path / "python"
    python.write_text(PIP.replace("INTERPRETER", sys.executable))
    python.chmod(0o755)
    variables = {
        "BUNDLE": str(tmp_path / "bundle"),
        "SPECTRIM_DATA": str(tmp_path / "corpora"),
        "PYTHON": str(python),
        "MODELS": "ast-digits",
        "WHEELS": "present==1 absent==1",
        "TARGET_PYTHON": "3.11",
    }

    def prepare(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(ROOT / "benchmarks/gpu/prepare.sh")],
            capture_output=True,
            text=True,
            env=os.environ | variables | more,
        )

    return prepare


def test_the_folder_holds_what_is_needed_and_the_rest_is_named(prepare, tmp_path):
    done = prepare(MINUTES="3", RESULT_FILES="5", RESULT_MIB="7", SIZE_MIB="50")
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = tmp_path / "bundle"
    names = {path.name for path in bundle.iterdir()}
    assert names == {"src", "benchmarks", "wheels", "results", "recipes", "data"}
    assert [path.name for path in (bundle / "results").iterdir()] == ["gpu"]
    models = bundle / "src" / "spectrim" / "assets" / "models"
    assert [path.name for path in models.iterdir()] == ["ast-digits"]
    assert [path.name for path in (bundle / "wheels").iterdir()] == ["present-1-py3-none-any.whl"]
    packed = (bundle / "data" / "fsdd" / "manifest.csv").read_text().split()
    assert packed == ["path,label", "0_x_0.wav,zero", "7_x_4.wav,seven"]
    for text in ("tests/, docs/", "model audiomae-words", "esc10", "wheel absent==1"):
        assert any(
            line.startswith("left out:") and text in line for line in done.stdout.split("\n")
        )
    assert "model ast-digits" not in done.stdout and "of 50 MiB" in done.stdout
    assert "--python-version 3.11" in (tmp_path / "pip.log").read_text()
    command = done.stdout.strip().splitlines()[-1]
    assert command.startswith("MINUTES=3 bash ") and AGENDA in command
    assert "> 5 " in command and "+7M" in command


def test_a_folder_above_its_limit_is_refused(prepare):
    done = prepare(SIZE_MIB="1")
    assert done.returncode == 1 and "The folder is too large" in done.stdout


@pytest.mark.slow
def test_a_piece_runs_from_the_folder_alone(prepare, tmp_path):
    assert prepare(WHEELS="absent==1").returncode == 0
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"REHEARSAL": "1", "ENTRIES": "profiling:400", "OUT": str(tmp_path / "out")}
    variables |= {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["bash", str(tmp_path / "bundle" / AGENDA)],
        capture_output=True,
        text=True,
        env=variables,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out" / "profiling.json").read_text())["complete"]


ENDLESS = """import sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
for number in range(4):
    (out / f"endless-{number}.json").write_text("{}")
time.sleep(600)
"""


@pytest.mark.slow
def test_a_piece_beyond_its_limit_is_stopped_and_its_results_are_packed(tmp_path):
    """It takes 40 s: the time of the agenda less 5 s, and no piece starts with less than 15 s."""
    folder = tmp_path / "benchmarks" / "gpu"
    folder.mkdir(parents=True)
    (folder / "agenda.sh").write_bytes((ROOT / AGENDA).read_bytes())
    (folder / "endless.py").write_text(ENDLESS)
    (folder / "late.py").write_text("")
    variables = {"ENTRIES": "endless:400 late:400", "MINUTES": "0.75", "RESULT_FILES": "2"}
    variables |= {"OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    variables |= {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        ["bash", str(folder / "agenda.sh")],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    assert done.returncode == 1 and "endless: exit status 124" in done.stdout
    assert "late: not started, no time left" in done.stdout and "1 pieces failed" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"agenda.log", "results.tar"}
    listed = subprocess.run(
        ["tar", "-tf", str(tmp_path / "out" / "results.tar")], capture_output=True, text=True
    )
    assert listed.stdout.split() == [f"./endless-{number}.json" for number in range(4)]
