"""The sample pack: spoken digits over generated backgrounds, so that a sweep needs no data."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def sample_pack() -> Path:
    """The manifest of the built-in pack; `tools/sample_pack.py` made it."""
    return Path(str(resources.files("spectrim.assets") / "sample-pack" / "manifest.csv"))
