"""Spectrim's own format: a folder of config.json and model.safetensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from ...common.errors import SpectrimError
from ...common.files import save, save_json
from ...common.paths import is_file
from ...pruning.plan import Plan
from ...pruning.recommendation import Recommendation
from ..config import ModelConfig
from ..has_recommendation import check_blocks
from .checkpoint import Weights
from .checkpoint_files import read_safetensors, read_state

FORMAT = "spectrim"
FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
RECOMMENDED = "recommended_plan"
"""Key of the recommended plan in the config. Versions that do not know it ignore it."""
DIGEST = "weights_digest"
"""Key of the digest in the config and in the metadata of the weights."""
TRANSFORMERS_TYPE = "spectrim.integrations.transformers"
"""model_type in the config of a folder that transformers reads. Its error quotes this text if the
module, whose import registers the type, was not imported."""
TRANSFORMERS_PREFIX = "spectrogram_transformer."
"""Of the names of weights in such a folder."""


def save_native(
    folder: str | os.PathLike[str],
    config: ModelConfig,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype | None = None,
    recommendation: Recommendation | None = None,
) -> Path:
    """Write config, plans and weights, in `dtype` (None: as they are); returns the folder.

    Both files hold a digest of the weights. A writer that is killed between the two files leaves
    new weights beside an old config, and `load_native` refuses this pair.
    """
    folder = Path(folder)
    state = {
        name: value.detach().cpu().to(dtype or value.dtype).contiguous()
        for name, value in weights.items()
    }
    digest = _digest(state)
    data = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "model": config.to_dict(),
        "plan": plan.to_dict(),
        DIGEST: digest,
    }
    if recommendation is not None:
        data[RECOMMENDED] = recommendation.to_dict()
    content = safetensors.torch.save(state, {DIGEST: digest})
    save(folder / WEIGHTS, lambda path: path.write_bytes(content))
    save_json(folder / CONFIG, data)
    return folder


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """Digest of the names and numbers of a state."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def is_native(config: Any) -> bool:
    """Whether a config.json is Spectrim's."""
    return isinstance(config, dict) and config.get("format") == FORMAT


def load_native(
    folder: Path, config: dict[str, Any], trust_code: bool
) -> tuple[ModelConfig, dict[str, torch.Tensor], Plan]:
    """Read what `save_native` or transformers wrote.

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
    for key in ("plan", "model"):
        if not isinstance(config.get(key), dict):
            problem = f"{key} is {config[key]!r}" if key in config else f"{key} is missing"
            raise SpectrimError(f"{where}: {problem}; expected keys and values.")
    try:
        plan = Plan.from_dict(config["plan"], trust_code)
        ours = ModelConfig.from_dict(config["model"])
    except KeyError as error:
        raise SpectrimError(f"{where}: the key {error} is missing.") from error
    except (TypeError, AttributeError) as error:
        raise SpectrimError(f"{where}: not in Spectrim's format ({error}).") from error
    except SpectrimError as error:
        raise SpectrimError(f"{where}: {error}") from error
    if (path := weights_path(folder)).name == WEIGHTS:
        state = read_safetensors(path)
        _check_pair(folder, config)
    else:
        state = read_state(path)
    state = {name.removeprefix(TRANSFORMERS_PREFIX): value for name, value in state.items()}
    if "special" in state:  # the name that Spectrim 0.1 wrote
        state["prefix_tokens"] = state.pop("special")
    return ours, state, plan


def weights_path(folder: Path) -> Path:
    """The file of weights, or the index of its parts: transformers may split a large model."""
    index = folder / f"{WEIGHTS}.index.json"
    return index if is_file(index) and not is_file(folder / WEIGHTS) else folder / WEIGHTS


def load_recommendation(
    folder: Path, config: Mapping[str, Any], depth: int, trust_code: bool
) -> tuple[Recommendation | None, tuple[str, ...]]:
    """The recommended plan in a config of a model with `depth` blocks, and notes.

    A plan that cannot be read is noted and ignored: the model computes the same without it.
    """
    if config.get(RECOMMENDED) is None:
        return None, ()
    try:
        recommendation = Recommendation.from_dict(config[RECOMMENDED], trust_code)
        check_blocks(recommendation.plan, depth)
    except SpectrimError as error:
        return None, (f"{folder / CONFIG}: the recommended plan is ignored: {error}",)
    return recommendation, ()


def _check_pair(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse weights and a config of two different saves; others' files have no digest."""
    with safe_open(folder / WEIGHTS, "pt") as file:
        stored = (file.metadata() or {}).get(DIGEST)
    if stored is not None and stored != config.get(DIGEST):
        raise SpectrimError(
            f"{folder}: {WEIGHTS} and {CONFIG} come from different saves, because saving was "
            "interrupted or a file was replaced. Save the model again."
        )


def check_sizes(config: ModelConfig, weights: Weights) -> None:
    """Compare a config with the names and sizes of its weights, before the model is built.

    A damaged or hostile config may describe a model that fits no memory.

    Raises:
        SpectrimError: names the key of the weights that differs.
    """
    width, tokens = config.width, config.num_prefix_tokens + config.grid.count
    sizes = {
        "patch.weight": (width, 1, *config.patch[::-1]),
        "prefix_tokens": (1, config.num_prefix_tokens, width),
        "positions": (1, tokens, width),
        "head.weight": (len(config.labels), width),
    }
    for block in (0, config.depth - 1):
        sizes[f"blocks.{block}.fc1.weight"] = (4 * width, width)
    for name, size in sizes.items():
        weights.require(name, *size)
