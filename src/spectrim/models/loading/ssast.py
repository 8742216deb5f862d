"""Converter for pre-trained SSAST (arXiv 2110.09784) with patches of 16 x 16.

Fine-tuned files have the names of the official AST, see `official_ast`.
"""

from __future__ import annotations

from ...pruning.patches import PatchGrid
from ..config import activation_of
from ..positions import stretch
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, Support, fresh_head
from .infer import infer_grid, labels_for

NAME = "SSAST"
SUPPORT = (
    Support(
        family="ssast",
        models="SSAST tiny, small, base (patch)",
        sources="pre-trained .pth; fine-tuned .pth with --load pool=normalised-patches",
        licence="BSD-3-Clause",
        verified="original code at commit a1a3eec",
    ),
)
LEFTOVERS = (
    *("p_input_fdim", "p_input_tdim", "mask_embed", "cpredlayer.", "gpredlayer."),
    *("v.head.", "v.head_dist."),
)
"""Parts of pre-training, and the heads of the transformer inside, which are never used."""


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys, without "module.", are of this format."""
    return checkpoint.weights.has("p_input_fdim", "cpredlayer.")


def read(checkpoint: Checkpoint) -> Converted:
    """Names `v.*` (timm's distilled DeiT) to ours, with a fresh head.

    Pre-training uses stride 16. For another `stride`, positions are stretched as the original
    fine-tuning does.
    """
    weights, where = checkpoint.weights, checkpoint.where
    weights.drop(*LEFTOVERS)
    state, positions, depth, width = timm.distilled(weights, "v.")
    stored = infer_grid(positions.shape[1] - 2, None, where)
    grid = PatchGrid(stored.frames, stored.mels, checkpoint.stride or stored.stride)
    state["positions"] = stretch(positions.float(), 2, stored, grid)
    weights.close()
    labels = labels_for(checkpoint.labels, None, where)
    state |= fresh_head(width, len(labels))
    assumed = timm.assumed(grid, labels) | {"head": FRESH_HEAD}
    config = from_family(
        "ssast", name=where, labels=labels, width=width, depth=depth,
        heads=timm.heads_of(width, where, checkpoint.heads), frames=grid.frames,
        stride=grid.stride, pool=timm.pool_of(checkpoint, "normalised-patches"), eps=timm.EPS,
        head_eps=timm.HEAD_EPS, **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state, assumed)
