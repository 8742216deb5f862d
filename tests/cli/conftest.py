"""The command line in a process of its own, a small saved model, and a few clips."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import soundfile
import torch

import spectrim
from spectrim.cli.main import main


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """`model/`, `clips/` with four sounds and a bad one, `clips.csv` with labels."""
    root = tmp_path_factory.mktemp("cli")
    torch.manual_seed(1)
    model = spectrim.create("ast-tiny", frames=64, labels=["low", "high"])
    model.save(root / "model")
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    rows = ["path,label,target_start,target_end"]
    for number in range(4):
        name = f"{number}.wav"
        soundfile.write(root / "clips" / name, rng.normal(0, 0.1, 16_000), 16_000)
        rows.append(f"clips/{name},{['low', 'high'][number % 2]},0.1,0.4")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    (root / "broken.py").write_text("def score(context):\n    return 1 / 0\n")
    return root


@pytest.fixture(scope="session")
def run(folder):
    """`run("tag", "a.wav")` in `folder`: status and output, as of a process.

    In this process, since each of its own would import torch for seconds; what only a process
    can show (signals, what is imported) has one.
    """

    def run(*words: str, cwd=folder) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["spectrim", *words])
            threads = torch.get_num_threads()
            status = 0
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    status = end.code or 0
            torch.set_num_threads(threads)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run
