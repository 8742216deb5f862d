"""Converter for checkpoints of the official AST code (YuanGongND/ast), and the paper's AST."""

from __future__ import annotations

import torch

from ...pruning.patches import PATCH
from ..config import activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, Support, Weights, fresh_head
from .infer import infer_grid, labels_for

NAME = "AST (official)"
SUPPORT = (
    Support(
        family="ast",
        models="AST",
        sources="official .pth",
        licence="BSD-3-Clause",
        verified="the reference implementation and recomputed tests",
    ),
)
HEAD_EPS = 1e-5  # PyTorch's default; the blocks use timm's
LEFTOVERS = ("v.head.", "v.head_dist.")  # ImageNet's heads, which the official code never uses


def fits(weights: Weights) -> bool:
    """Whether these names, without "module.", are of this format."""
    return weights.has("v.", "mlp_head.")


def read(checkpoint: Checkpoint) -> Converted:
    """Names `v.*` (timm's distilled DeiT) and `mlp_head.{0,1}` to ours."""
    weights, where = checkpoint.weights, checkpoint.where
    weights.drop(*LEFTOVERS)
    kernel = weights.take("v.patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    heads = timm.heads_of(width, where, checkpoint.heads)
    prefix_tokens = [weights.take(f"v.{name}", 1, 1, width) for name in ("cls_token", "dist_token")]
    positions = weights.take("v.pos_embed", 1, None, width)
    grid = infer_grid(positions.shape[1] - len(prefix_tokens), checkpoint.stride, where)
    depth, state = timm.blocks(weights, "v.", width)
    state |= {
        "patch.weight": kernel.transpose(2, 3),  # theirs is (frequency, time)
        "patch.bias": weights.take("v.patch_embed.proj.bias", width),
        "prefix_tokens": torch.cat(prefix_tokens, 1),
        "positions": positions,
    }
    state |= weights.layer("norm", "v.norm", width)
    classes = None
    if has_head := weights.has("mlp_head."):
        state |= weights.layer("head_norm", "mlp_head.0", width)
        head = weights.layer("head", "mlp_head.1", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    labels = labels_for(checkpoint.labels, classes, where)
    assumed = timm.assumed(grid, labels)
    if not has_head:
        state |= fresh_head(width, len(labels))
        assumed["head"] = FRESH_HEAD
    config = from_family(
        "ast", name=where, labels=labels, width=width, depth=depth, heads=heads,
        frames=grid.frames, stride=grid.stride, eps=timm.EPS, head_eps=HEAD_EPS, padding="zero",
        **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state, assumed)
