"""Versions that every result stores; this module does not import torch."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

RESULT_VERSION = 1
PACKAGES = ("torch", "numpy", "scikit-learn", "soundfile", "soxr")


@cache
def package_versions(*more: str) -> dict[str, str]:
    """Versions of Spectrim, Python, its numerical packages and `more`, and the processor."""
    from ..version import __version__

    packages = {}
    for name in (*PACKAGES, *more):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an exported model runs where there is no torch
            continue
    return {
        "spectrim": __version__,
        "python": platform.python_version(),
        **packages,
        "processor": processor(),
    }


@cache
def code_digest() -> str:
    """A digest of Spectrim's own code, which changes between releases without its version."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def processor() -> str:
    """The name of the processor, as the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
