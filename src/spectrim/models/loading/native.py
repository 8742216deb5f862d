"""Spectrim's own format: a folder of config.json and model.safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from ...common.errors import SpectrimError
from ...common.files import save, save_json
from ...pruning.plan import Plan
from ..config import ModelConfig

FORMAT = "spectrim"
FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_native(
    folder: str | os.PathLike[str],
    config: ModelConfig,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write config, plan and weights, in `dtype` (None: as they are); returns the folder."""
    folder = Path(folder)
    data = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "model": config.to_dict(),
        "plan": plan.to_dict(),
    }
    state = {
        name: value.detach().cpu().to(dtype or value.dtype).contiguous()
        for name, value in weights.items()
    }
    save(folder / WEIGHTS, lambda path: path.write_bytes(safetensors.torch.save(state)))
    save_json(folder / CONFIG, data)
    return folder


def is_native(config: Any) -> bool:
    """Whether a config.json is Spectrim's."""
    return isinstance(config, dict) and config.get("format") == FORMAT


def load_native(
    folder: Path, config: dict[str, Any], trust_code: bool
) -> tuple[ModelConfig, dict[str, torch.Tensor], Plan]:
    """Read what `save_native` wrote.

    Raises:
        SpectrimError: another version, a key that is missing or wrong, damaged weights, or a
            plan that names code from outside Spectrim, without `trust_code`.
    """
    where = folder / CONFIG
    if config.get("version") != FORMAT_VERSION:
        raise SpectrimError(
            f"{where}: format version {config.get('version')!r}; this Spectrim reads version "
            f"{FORMAT_VERSION}."
        )
    try:
        plan = Plan.from_dict(config["plan"], trust_code)
        ours = ModelConfig.from_dict(config["model"])
    except KeyError as error:
        raise SpectrimError(f"{where}: the key {error} is missing.") from error
    except (TypeError, AttributeError) as error:
        raise SpectrimError(f"{where}: not in Spectrim's format ({error}).") from error
    except SpectrimError as error:
        raise SpectrimError(f"{where}: {error}") from error
    state = read_safetensors(folder / WEIGHTS)
    if "special" in state:  # the name that Spectrim 0.1 wrote
        state["prefix_tokens"] = state.pop("special")
    return ours, state, plan


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        SpectrimError: missing or damaged.
    """
    if not path.is_file():
        raise SpectrimError(f"{path}: no such file.")
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise SpectrimError(f"{path}: not a whole safetensors file ({error}).") from error
