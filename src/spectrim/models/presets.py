"""Families of models and presets: the sizes in which models are created or known."""

from __future__ import annotations

from typing import Any

from ..common.errors import SpectrimError, nearest
from .config import ModelConfig

FAMILIES: dict[str, dict[str, Any]] = {
    "ast": {
        "num_prefix_tokens": 2,
        "frequency_major": True,
        "pool": "prefix",
        "learned_positions": True,
    },
    "audiomae": {
        "num_prefix_tokens": 1,
        "frequency_major": False,
        "pool": "patches",
        "learned_positions": False,
        "positions_kept": "first",
    },
    "ced": {
        "num_prefix_tokens": 0,
        "frequency_major": True,
        "pool": "normalised-patches",
        "positions_kept": "first",
        "front_end": "htk-mel",
        "mels": 64,
        "frames": 1012,
        "head_eps": 1e-5,
        "mean": -20.8,  # of 80 clips of ESC-10; published files have a BatchNorm instead
        "std": 29.8,
        "std_factor": 1.0,
        "padding": "minimum",
        "activation": "sigmoid",
        "metric": "mAP",
    },
    "eat": {
        "num_prefix_tokens": 1,
        "frequency_major": False,
        "norm_first": False,
        "norm_after_embedding": True,
        "pool": "prefix",
        "learned_positions": False,
        "positions_kept": "first",
        "mean": -4.268,
        "std": 4.569,
        "padding": "zero",
    },
    "passt": {
        "num_prefix_tokens": 2,
        "frequency_major": True,
        "pool": "prefix",
        "positions_kept": "first",
        "stride": (10, 10),
        "frames": 1000,
        "head_eps": 1e-5,
        "front_end": "passt-mel",
        "sample_rate": 32_000,
        "mean": -4.5,
        "std": 2.5,
        "padding": "minimum",
    },
    "maest": {
        "num_prefix_tokens": 2,
        "frequency_major": True,
        "pool": "prefix",
        "positions_kept": "first",
        "stride": (10, 10),
        "front_end": "slaney-mel",
        "mels": 96,
        "mean": 2.06755686098554,
        "std": 1.268292820667291,
        "padding": "zero",
    },
    "ssast": {
        "num_prefix_tokens": 2,
        "frequency_major": True,
        "pool": "normalised-patches",
        "head_eps": 1e-5,
        "padding": "zero",
    },
}
"""Settings that all models of a family share."""

BASE = {"width": 768, "depth": 12, "heads": 12}
SMALL = {"width": 384, "depth": 12, "heads": 6}
TINY = {"width": 128, "depth": 12, "heads": 2}
DEIT_TINY = {"width": 192, "depth": 12, "heads": 3}
PRESETS: dict[str, dict[str, Any]] = {
    "ast-base": {"family": "ast", **BASE},
    "ast-small": {"family": "ast", **SMALL},
    "ast-tiny": {"family": "ast", **TINY},
    "audiomae-base": {"family": "audiomae", **BASE},
    "audiomae-small": {"family": "audiomae", **SMALL},
    "audiomae-tiny": {"family": "audiomae", **TINY},
    "ced-tiny": {"family": "ced", **DEIT_TINY},
    "ced-mini": {"family": "ced", "width": 256, "depth": 12, "heads": 4},
    "ced-small": {"family": "ced", **SMALL},
    "ced-base": {"family": "ced", **BASE},
    "eat-base": {"family": "eat", **BASE},
    "eat-tiny": {"family": "eat", **TINY},
    "eat-large": {"family": "eat", "width": 1024, "depth": 24, "heads": 16},
    "maest-5s": {"family": "maest", **BASE, "frames": 316},
    "maest-10s": {"family": "maest", **BASE, "frames": 626},
    "maest-20s": {"family": "maest", **BASE, "frames": 1256},
    "maest-30s": {"family": "maest", **BASE, "frames": 1876},
    "passt-s10": {"family": "passt", **BASE},
    "passt-s12": {"family": "passt", **BASE, "stride": (12, 12)},
    "passt-s14": {"family": "passt", **BASE, "stride": (14, 14)},
    "passt-s16": {"family": "passt", **BASE, "stride": (16, 16)},
    "ssast-tiny": {"family": "ssast", **DEIT_TINY},
    "ssast-small": {"family": "ssast", **SMALL},
    "ssast-base": {"family": "ssast", **BASE},
}
"""Name of a preset to its family and the settings that differ within the family."""


def preset(name: str, labels: tuple[str, ...], **changes: Any) -> ModelConfig:
    """The config of a preset, such as "ast-base" or "ced-tiny".

    Args:
        name: a key of `PRESETS`.
        labels: names of the classes.
        changes: other settings, instead of the preset's.

    Raises:
        SpectrimError: no such preset (the nearest are offered) or a value out of range.
    """
    if name not in PRESETS:
        raise SpectrimError(
            f"no preset is called {name!r}.{nearest(name, PRESETS)} `spectrim models --formats` "
            "lists all."
        )
    return from_family(**(PRESETS[name] | {"name": name, "labels": labels} | changes))


def from_family(family: str, **values: Any) -> ModelConfig:
    """A config with the settings that all models of a family, such as "ast", share."""
    return ModelConfig(family=family, **(FAMILIES[family] | values))
