"""The built-in sample pack: spoken digits over generated backgrounds, for a sweep without data."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def sample_pack() -> Path:
    """The manifest of the sample pack, which `tools/sample_pack.py` generates."""
    return Path(str(resources.files("spectrim.assets") / "sample-pack" / "manifest.csv"))
