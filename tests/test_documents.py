"""The Python in README and docs runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import spectrim

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
