"""What every result says about how it was made."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from typing import Any

import torch

from ..pruning.plan import Plan
from ..pruning.stage import name_of
from .transformer import SpectrogramTransformer

RESULT_VERSION = 1


def context_of(model: SpectrogramTransformer, name: str, batch_size: int) -> dict[str, Any]:
    """Model, plan, batch size, threads, device, dtype, frames and versions, as plain data."""
    return {
        "model": name,
        "plan": plan_record(model.plan),
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "frames": model.config.frames,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }


def plan_record(plan: Plan) -> dict[str, Any]:
    """A plan as plain data; what no text names is called by its own name."""
    stages = [
        {"at": s.at, "score": name_of(s.score), "reduction": name_of(s.reduction)}
        | ({"keep_rate": s.keep_rate} if s.count is None else {"count": s.count})
        for s in plan.stages
    ]
    return {"seed": plan.seed, "stages": stages}


@cache
def versions() -> dict[str, str]:
    """Versions of what computes the numbers, and the processor."""
    names = ("torch", "numpy", "scikit-learn", "soundfile", "soxr")
    found = {name: metadata.version(name) for name in names}
    from .. import __version__

    return {
        "spectrim": __version__,
        "python": platform.python_version(),
        **found,
        "processor": processor(),
    }


def processor() -> str:
    """The name of the processor, as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
