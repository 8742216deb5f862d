"""Converter for checkpoints of the official AST code (YuanGongND/ast), and the paper's AST."""

from __future__ import annotations

from ..config import activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, Support, fresh_head
from .infer import infer_grid, labels_for

NAME = "AST (official)"
SUPPORT = (
    Support(
        family="ast",
        models="AST",
        sources="official .pth",
        licence="BSD-3-Clause",
        verified="reference implementation in the tests",
    ),
)
LEFTOVERS = ("v.head.", "v.head_dist.")  # ImageNet's heads, which the official code never uses


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys, without "module.", are of this format."""
    return checkpoint.weights.has("v.", "mlp_head.")


def read(checkpoint: Checkpoint) -> Converted:
    """Names `v.*` (timm's distilled DeiT) and `mlp_head.{0,1}` to ours.

    Fine-tuned SSASTs have the same names, and most of them pool the patches. The file does not
    store this, so the user passes `pool`.
    """
    weights, where = checkpoint.weights, checkpoint.where
    weights.drop(*LEFTOVERS)
    state, positions, depth, width = timm.distilled(weights, "v.")
    heads = timm.heads_of(width, where, checkpoint.heads)
    grid = infer_grid(positions.shape[1] - 2, checkpoint.stride, where)
    state["positions"] = positions
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
    pool = timm.pool_of(checkpoint, "prefix")
    assumed["pool"] = "a head that reads the class tokens (most SSASTs: normalised-patches)"
    config = from_family(
        "ast" if pool == "prefix" else "ssast", name=where, pool=pool, labels=labels,
        width=width, depth=depth, heads=heads,
        frames=grid.frames, stride=grid.stride, padding="zero",
        eps=timm.EPS, head_eps=timm.HEAD_EPS,
        **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state, assumed)
