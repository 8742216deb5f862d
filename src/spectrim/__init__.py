"""Spectrim: cheaper audio spectrogram transformers, by dropping patches that do not matter."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .common.errors import SpectrimError, SpectrimNotice
    from .deploy.export import export
    from .deploy.onnx_model import load_onnx
    from .deploy.tag import tag
    from .models.load import from_transformers, load
    from .models.registry import create, macs, prune
    from .pruning.plan import Plan
    from .pruning.stage import Stage

__version__ = "0.1.0"

# Name to module: importing spectrim must not import torch.
_FACE = {
    "Plan": "pruning.plan",
    "SpectrimError": "common.errors",
    "SpectrimNotice": "common.errors",
    "Stage": "pruning.stage",
    "create": "models.registry",
    "export": "deploy.export",
    "from_transformers": "models.load",
    "load": "models.load",
    "load_onnx": "deploy.onnx_model",
    "macs": "models.registry",
    "prune": "models.registry",
    "tag": "deploy.tag",
}
__all__ = [
    "Plan",
    "SpectrimError",
    "SpectrimNotice",
    "Stage",
    "__version__",
    "create",
    "export",
    "from_transformers",
    "load",
    "load_onnx",
    "macs",
    "prune",
    "tag",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'spectrim' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_FACE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
