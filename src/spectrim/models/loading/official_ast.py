"""The door for checkpoints of the official AST code (YuanGongND/ast), and the paper's AST."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...pruning.patches import PATCH
from ..config import activation_of, from_family
from . import timm_names as timm
from .infer import Labels, heads_of, labels_for, lie
from .state_dict import FRESH_HEAD, Arrival, Weights, fresh_head

HEAD_EPS = 1e-5  # torch's own, where the blocks have timm's
LEFTOVERS = ("v.head.", "v.head_dist.")  # ImageNet's heads, which the code never reads


def fits(names: Iterable[str]) -> bool:
    """Whether these names, without "module.", are of this format."""
    return any(name.startswith(("v.", "mlp_head.")) for name in names)


def read(weights: Weights, stride: Any = None, labels: Labels | None = None) -> Arrival:
    """Names `v.*` (timm's distilled DeiT) and `mlp_head.{0,1}` to ours.

    Raises:
        SpectrimError: a key that is missing, unexpected or of a wrong shape.
    """
    weights.drop(*LEFTOVERS)
    kernel = weights.take("v.patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    heads = heads_of(width, weights.where)
    num_prefix_tokens = [
        weights.take(f"v.{name}", 1, 1, width) for name in ("cls_token", "dist_token")
    ]
    positions = weights.take("v.pos_embed", 1, None, width)
    grid = lie(positions.shape[1] - len(num_prefix_tokens), stride, weights.where)
    depth, state = timm.blocks(weights, "v.", width)
    state |= {
        "patch.weight": kernel.transpose(2, 3),  # theirs is (frequency, time)
        "patch.bias": weights.take("v.patch_embed.proj.bias", width),
        "prefix_tokens": torch.cat(num_prefix_tokens, 1),
        "positions": positions,
    }
    state |= weights.layer("norm", "v.norm", width)
    classes = None
    if has_head := any(name.startswith("mlp_head.") for name in weights.names):
        state |= weights.layer("head_norm", "mlp_head.0", width)
        head = weights.layer("head", "mlp_head.1", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    names = labels_for(labels, classes, weights.where)
    assumed = timm.assumed(grid, names)
    if not has_head:
        state |= fresh_head(width, len(names))
        assumed["head"] = FRESH_HEAD
    config = from_family(
        "ast", name=weights.where, labels=names, width=width, depth=depth, heads=heads,
        frames=grid.frames, stride=grid.stride, eps=timm.EPS, head_eps=HEAD_EPS, padding="zero",
        **activation_of(len(names)),
    )  # fmt: skip
    return Arrival(config, state, assumed)
