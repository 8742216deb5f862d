"""The checkpoint formats of other projects, and recognising them by their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...common.errors import SpectrimError
from . import audiomae, ced, eat, hugging_face, maest, official_ast, passt, ssast
from .checkpoint import NO_CONVERTER, Checkpoint, CheckpointFormat, unsupported

FORMATS: tuple[CheckpointFormat, ...] = (
    maest,
    hugging_face,
    ced,
    eat,
    passt,
    ssast,
    official_ast,
    audiomae,
)
"""Every format; a new one is a module with `NAME`, `SUPPORT`, `fits` and `read`.

The first that fits is used, so formats with names of their own stand before those whose names
others share.
"""
WINDOWS = (
    "windows and merges patches between its stages. Top-k pruning needs one sequence of patches, "
    "any of which may be dropped; here it would leave windows with holes"
)
UNSUPPORTED = {
    r"\.attn_block_t\.": "DTF-AT, which attends along time and along frequency in separate "
    + WINDOWS,
    r"relative_position_bias_table": "HTS-AT or another Swin transformer, which attends in "
    + WINDOWS,
    r"^patch_embedding\.weight$": "BEATs, whose attention adds a learned bias for each pair of "
    "patches. Spectrim does not compute this bias",
    r"(^|\.)norm_stats$": f"M2D. {NO_CONVERTER}",
    r"\.patch_embed\.patch_embed\.weight$": f"ATST. {NO_CONVERTER}",
}
"""Models that do not load, by a pattern of their keys. The first pattern that occurs decides,
because DTF-AT has the second one too."""


def format_of(checkpoint: Checkpoint) -> CheckpointFormat | None:
    """The first format that the names of a checkpoint fit; None if there is none.

    Raises:
        SpectrimError: the model is in `UNSUPPORTED`.
    """
    for pattern, model in UNSUPPORTED.items():
        if any(re.search(pattern, name) for name in checkpoint.weights.names):
            raise unsupported(checkpoint.where, model)
    return next((known for known in FORMATS if known.fits(checkpoint)), None)


def unknown_format(
    state: Mapping[str, Any], where: str, config: Mapping[str, Any] | None
) -> SpectrimError:
    """The refusal of a checkpoint that no format fits."""
    names = ", ".join(map(repr, list(state)[:3]))
    formats = ", ".join(known.NAME for known in FORMATS)
    model_type = (config or {}).get("model_type")
    if model_type == hugging_face.MODEL_TYPE:
        return SpectrimError(
            f"{where}: config.json describes {hugging_face.NAME}, but the weights have other "
            f"names: {names}. Save the model itself, without its wrapper module."
        )
    model = "an unknown model" if model_type is None else f"a model of type {model_type!r}"
    return SpectrimError(
        f"{where} holds {model}. Spectrim reads {formats} and its own folders. The first names in "
        f"this file: {names}."
    )
