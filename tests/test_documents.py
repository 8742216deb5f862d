"""The Python in README and docs runs as it is printed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import spectrim
from spectrim.models.transformer import SpectrogramTransformer

RAMP = np.linspace(-0.1, 0.1, 16_000, dtype=np.float32)  # a second of sound
ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["README.md", "docs/extending.md"])
def test_the_python_in_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    model = spectrim.load("ast-digits")
    names = {"spectrim": spectrim, "model": model}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
        pruned = names["pruned"]
        features, valid = pruned.features([(RAMP, 16_000)])
        assert pruned(features, valid).shape == (1, 10)
        assert spectrim.macs(pruned) < spectrim.macs(model)


@pytest.mark.slow
def test_the_python_about_export_runs(tmp_path, monkeypatch):
    """numpy and onnxruntime alone give what `load_onnx` gives. Of three blocks, to be quick."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"export needs {package}: pip install {package}")
    monkeypatch.chdir(tmp_path)
    config = replace(spectrim.load("ast-digits").config, depth=3)
    monkeypatch.setattr(spectrim, "load", lambda name: SpectrogramTransformer(config))
    monkeypatch.setattr(spectrim, "prune", partial(spectrim.prune, blocks=(0, 1)))
    text = (ROOT / "docs/export.md").read_text()
    ours, theirs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"sound": np.tile(RAMP, 2)}
    exec(compile(ours, "docs/export.md", "exec"), names)
    assert names["rows"][0]["labels"] and names["values"].shape == (1, 10)
    exec(compile(theirs, "docs/export.md", "exec"), names)
    assert "spectrim" not in theirs and names["tags"][0] in names["labels"]
    expected = names["runner"].probabilities(names["clips"])
    np.testing.assert_allclose(names["values"], expected, atol=1e-6)
