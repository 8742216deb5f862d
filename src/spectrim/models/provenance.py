"""How a result was computed, as plain data that every result stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from ..common.versions import RESULT_VERSION as RESULT_VERSION
from ..common.versions import package_versions
from ..common.versions import processor as processor
from ..pruning.components import part_name
from ..pruning.plan import Plan
from ..pruning.saved_plans import PLAN_VERSION
from .transformer import SpectrogramTransformer


def versions(*more: str) -> dict[str, str]:
    """As `package_versions`, plus the names of the GPUs if this process uses CUDA."""
    packages = package_versions(*more)
    if not torch.cuda.is_initialized():
        return packages
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return packages | {"gpu": ", ".join(dict.fromkeys(names))}


def machine_of(record: Mapping[str, Any]) -> str:
    """The hardware that computed a result, in words, such as "Xeon, 2 thread(s)"."""
    versions_used = record["versions"]
    if not (record.get("device") or "cpu").startswith("cpu"):
        return versions_used.get("gpu") or record["device"]
    return f"{versions_used['processor']}, {record['threads']} thread(s)"


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
    } | compilation_of(model)


def compilation_of(model: SpectrogramTransformer) -> dict[str, Any]:
    """{"compile_s": seconds of all compilations so far}; nothing for an uncompiled model."""
    if model.compiled is None:
        return {}
    return {"compile_s": round(sum(model.compiled.seconds.values()), 3)}


def weights_digest(model: SpectrogramTransformer) -> str:
    """A digest of a model's config and weights."""
    digest = hashlib.blake2b(json.dumps(model.config.to_dict()).encode(), digest_size=16)
    for value in model.state_dict().values():
        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()


def plan_record(plan: Plan) -> dict[str, Any]:
    """A plan as plain data; scores and reductions passed as objects appear by their own name."""
    stages = [
        {
            "at": s.at,
            "score": None if s.score is None else part_name(s.score),
            "reduction": part_name(s.reduction),
        }
        | ({"keep_rate": s.keep_rate} if s.count is None else {"count": s.count})
        | ({"score_options": dict(s.score_options)} if s.score_options else {})
        | ({"reduction_options": dict(s.reduction_options)} if s.reduction_options else {})
        | ({} if s.place == "between" else {"place": s.place})
        for s in plan.stages
    ]
    return {"version": PLAN_VERSION, "seed": plan.seed, "stages": stages} | plan.options()
