"""The command line in a process of its own, a small saved model, and a few clips."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

import spectrim
from calls import call_spectrim


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

    What only a process can show (signals, what is imported) has one.
    """
    return lambda *words, cwd=folder: call_spectrim(words, cwd)


@pytest.fixture
def run_until(run, monkeypatch):
    """`run_until("sweep:clips:2", "sweep", ...)`: as `run`; a hook sends Ctrl-C at the point.

    So no step of a test depends on time.
    """

    def run_until(point, *words, **options):
        with monkeypatch.context() as patch:
            patch.setattr("spectrim.common.hooks._steps", Counter())
            patch.setenv("SPECTRIM_STOP_AT", point)
            return run(*words, **options)

    return run_until
