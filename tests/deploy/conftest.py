"""Exported models, made once, and real clips."""

from __future__ import annotations

import os

import numpy as np
import pytest
from filelock import FileLock

import spectrim
from spectrim.audio.decode import read
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data


@pytest.fixture(scope="session")
def needed():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"export needs {package}: pip install {package}")


@pytest.fixture(scope="session")
def sounds():
    """Real waveforms: 48 clips of the sample pack, as they are, cut short, and end to end."""
    clips = [read(clip.path) for clip in read_data(sample_pack()).clips[:48]]
    for at, samples in enumerate((400, 401, 700, 2000, 5000, 8000, 12_345)):
        clips[at * 5] = clips[at * 5][:samples]
    clips[3] = np.concatenate(clips[3:6])
    return clips


@pytest.fixture(scope="session")
def pruned():
    return spectrim.prune(spectrim.load("ast-digits"), 0.7)


@pytest.fixture(scope="session")
def digits(needed, pruned, tmp_path_factory):
    """The built-in model at keep-rate 0.7, exported once for all processes of the tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "digits.onnx"
    with FileLock(folder / "digits.lock"):
        return path if path.exists() else spectrim.export(pruned, path)
