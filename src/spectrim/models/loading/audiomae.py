"""Converter for AudioMAE: its own checkpoints, the paper's, and ports under timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common.errors import SpectrimError
from ...common.values import has_type
from ...pruning.patches import PATCH
from ..config import activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, Support, fresh_head
from .infer import infer_grid, labels_for, normalisation_of

NAME = "AudioMAE (official, timm)"
SUPPORT = (
    Support(
        family="audiomae",
        models="AudioMAE",
        sources="official .pth, timm folders",
        licence="CC-BY-NC 4.0",
        verified="reference implementation in the tests",
    ),
)
LEFTOVERS = ("norm.", "mask_token", "decoder_")  # of pre-training; fine-tuning never uses them


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys, without "module.", are of this format."""
    return checkpoint.weights.has("patch_embed.")


def read(checkpoint: Checkpoint) -> Converted:
    """timm's names with `fc_norm` and `head` to ours.

    A pre-trained encoder has neither of the two and gets fresh ones. Of a port's config.json,
    the length and the label names are read. Its mean and std are not read, because they may be the
    values for images.
    """
    weights, where = checkpoint.weights, checkpoint.where
    port = checkpoint.config or {}
    weights.drop(*LEFTOVERS)
    # (width, 1, time, frequency) as ours: their input is (1, frames, mels) too.
    kernel = weights.take("patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    heads = timm.heads_of(width, where, checkpoint.heads)
    positions = weights.take("pos_embed", 1, None, width)
    stored_frames = _frames(port)
    grid = infer_grid(positions.shape[1] - 1, checkpoint.stride, where, stored_frames)
    depth, state = timm.take_blocks(weights, "", width)
    state |= {
        "patch.weight": kernel,
        "patch.bias": weights.take("patch_embed.proj.bias", width),
        "prefix_tokens": weights.take("cls_token", 1, 1, width),
        "positions": positions,
    }
    classes = None
    has_head = weights.has("head.")
    if has_head or weights.has("fc_norm."):
        state |= weights.layer("head_norm", "fc_norm", width)
    if has_head:
        head = weights.layer("head", "head", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    stored_labels = _labels(port, classes, where)
    labels = labels_for(checkpoint.labels, classes, where, stored_labels)
    normalisation, assumed = normalisation_of(checkpoint.preprocessor, where)
    others = timm.assumed(grid, labels)
    if grid.frames == stored_frames:
        del others["frames"]
    if stored_labels is not None:
        del others["labels"]
    assumed |= {key: text for key, text in others.items() if key not in normalisation}
    if not has_head:
        state = fresh_head(width, len(labels)) | state
        assumed["head"] = FRESH_HEAD
    config = from_family(
        "audiomae", name=where, labels=labels, width=width, depth=depth, heads=heads,
        frames=grid.frames, stride=grid.stride, eps=timm.EPS, head_eps=timm.EPS,
        **normalisation, **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state, assumed)


def _frames(port: Mapping[str, Any]) -> int | None:
    """Number of frames in a port's config.json: `input_size` is (channels, frames, mels)."""
    inner = port.get("pretrained_cfg")
    size = inner.get("input_size") if isinstance(inner, Mapping) else None
    if isinstance(size, list) and has_type(size, list[int]) and len(size) == 3:
        return size[1]
    return None


def _labels(port: Mapping[str, Any], classes: int | None, where: str) -> tuple[str, ...] | None:
    """The label names in a port's config.json, if it has one for each class."""
    inner = port.get("pretrained_cfg")
    for table in (port, inner if isinstance(inner, Mapping) else {}):
        names = table.get("label_names")
        if isinstance(names, list) and len(names) == classes:
            if not has_type(names, list[str]):
                raise SpectrimError(
                    f"{where}: label_names is {names!r} in config.json; expected texts."
                )
            return tuple(names)
    return None
