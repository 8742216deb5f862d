"""Spectrim: cheaper audio spectrogram transformers, by dropping patches that do not matter."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.registry import create, macs, prune

__version__ = "0.1.0"

# Name to module: importing spectrim must not import torch.
_FACE = {
    "create": "models.registry",
    "prune": "models.registry",
    "macs": "models.registry",
}
__all__ = ["__version__", "create", "macs", "prune"]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'spectrim' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_FACE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
