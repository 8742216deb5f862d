"""The door for AudioMAE: its own checkpoints, the paper's, and ports under timm's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...pruning.patches import PATCH
from ..config import activation_of, from_family
from . import timm_names as timm
from .infer import Labels, heads_of, labels_for, lie
from .preprocessor import hearing
from .state_dict import FRESH_HEAD, Arrival, Weights, fresh_head

LEFTOVERS = ("norm.", "mask_token", "decoder_")  # of pre-training; fine-tuning never reads them


def fits(names: Iterable[str]) -> bool:
    """Whether these names, without "module.", are of this format."""
    return any(name.startswith("patch_embed.") for name in names)


def read(
    weights: Weights,
    stride: Any = None,
    labels: Labels | None = None,
    config: Mapping[str, Any] | None = None,
    preprocessor: Mapping[str, Any] | None = None,
) -> Arrival:
    """timm's names with `fc_norm` and `head` to ours.

    A pre-trained encoder has neither of the two; it gets fresh ones, with `labels` classes.

    Args:
        weights: what the file holds.
        stride: where the count of patches does not tell.
        labels: names or, without a head, a count.
        config: a port's config.json, where there is one: its length and label names are read.
            timm's own mean and std are not: nothing tells them from those of images.
        preprocessor: preprocessor_config.json of an ASTFeatureExtractor, where there is one.

    Raises:
        SpectrimError: a key that is missing, unexpected or of a wrong shape.
    """
    weights.drop(*LEFTOVERS)
    # (width, 1, time, frequency) as ours: their input is (1, frames, mels) too.
    kernel = weights.take("patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    heads = heads_of(width, weights.where)
    positions = weights.take("pos_embed", 1, None, width)
    length = frames_of(config or {})
    grid = lie(positions.shape[1] - 1, stride, weights.where, length)
    depth, state = timm.blocks(weights, "", width)
    state |= {
        "patch.weight": kernel,
        "patch.bias": weights.take("patch_embed.proj.bias", width),
        "prefix_tokens": weights.take("cls_token", 1, 1, width),
        "positions": positions,
    }
    has_norm = any(name.startswith("fc_norm.") for name in weights.names)
    has_head = any(name.startswith("head.") for name in weights.names)
    classes = None
    if has_norm or has_head:
        state |= weights.layer("head_norm", "fc_norm", width)
    if has_head:
        head = weights.layer("head", "head", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    known = names_of(config or {}, classes)
    names = labels_for(labels, classes, weights.where, known)
    assumed = timm.assumed(grid, names, named=known is not None)
    if grid.frames == length:
        del assumed["frames"]
    sound, unsaid = hearing(preprocessor, weights.where)
    assumed = {k: v for k, v in assumed.items() if k not in sound or k in unsaid}
    if not has_head:
        state = fresh_head(width, len(names)) | state
        assumed["head"] = FRESH_HEAD
    return Arrival(
        from_family(
            "audiomae", name=weights.where, labels=names, width=width, depth=depth, heads=heads,
            frames=grid.frames, stride=grid.stride, eps=timm.EPS, head_eps=timm.EPS,
            **sound, **activation_of(len(names)),
        ),
        state,
        assumed,
    )  # fmt: skip


def frames_of(config: Mapping[str, Any]) -> int | None:
    """The length in a port's config.json: `input_size` is (channels, frames, mels)."""
    inner = config.get("pretrained_cfg")
    size = inner.get("input_size") if isinstance(inner, Mapping) else None
    if isinstance(size, list) and len(size) == 3 and isinstance(size[1], int):
        return size[1]
    return None


def names_of(config: Mapping[str, Any], classes: int | None) -> tuple[str, ...] | None:
    """The label names in a port's config.json, where it has one for each class."""
    inner = config.get("pretrained_cfg")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        names = part.get("label_names")
        if isinstance(names, list) and len(names) == classes:
            return tuple(map(str, names))
    return None
