"""Spectrim: audio spectrogram transformers made cheaper by dropping or merging patches."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .common.errors import SpectrimError, SpectrimNotice
    from .deploy.events import find_events
    from .deploy.export import export
    from .deploy.onnx_model import load_onnx
    from .deploy.tag import tag, tag_events
    from .models.blend import blend
    from .models.build import create, macs, prune
    from .models.loading.load import from_transformers, load
    from .pruning.plan import Plan
    from .pruning.stage import Stage

# Name to module: importing spectrim must not import torch.
_FACE = {
    "Plan": "pruning.plan",
    "SpectrimError": "common.errors",
    "SpectrimNotice": "common.errors",
    "Stage": "pruning.stage",
    "blend": "models.blend",
    "create": "models.build",
    "export": "deploy.export",
    "find_events": "deploy.events",
    "from_transformers": "models.loading.load",
    "load": "models.loading.load",
    "load_onnx": "deploy.onnx_model",
    "macs": "models.build",
    "prune": "models.build",
    "tag": "deploy.tag",
    "tag_events": "deploy.tag",
}
__all__ = [
    "Plan",
    "SpectrimError",
    "SpectrimNotice",
    "Stage",
    "__version__",
    "blend",
    "create",
    "export",
    "find_events",
    "from_transformers",
    "load",
    "load_onnx",
    "macs",
    "prune",
    "tag",
    "tag_events",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'spectrim' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_FACE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
