"""Converter for PaSST (arXiv 2110.05069), stride 10, 12, 14 or 16."""

from __future__ import annotations

import torch

from ...common.errors import SpectrimError
from ...pruning.patches import PATCH, PatchGrid
from ..config import activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, Support, fresh_head
from .infer import assumed_labels, labels_for

NAME = "PaSST"
SUPPORT = (
    Support(
        family="passt",
        models="PaSST s10, s12, s14, s16",
        sources="original .pt",
        licence="Apache-2.0",
        verified="original code at commit 2a5c818",
    ),
)
MELS = 128
STRIDES = {12: 10, 10: 12, 9: 14, 8: 16}
"""Number of frequency rows to the stride of the published models."""
SECOND = 100  # frames
LEFTOVERS = ("head_dist.",)


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys are of this format."""
    return checkpoint.weights.has("freq_new_pos_embed")


def read(checkpoint: Checkpoint) -> Converted:
    """timm's names, with tables of positions along time and frequency, which are added up once."""
    weights, where = checkpoint.weights, checkpoint.where
    weights.drop(*LEFTOVERS)
    kernel = weights.take("patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    prefix_tokens = [weights.take(name, 1, 1, width) for name in ("cls_token", "dist_token")]
    prefix_positions = weights.take("new_pos_embed", 1, len(prefix_tokens), width)
    frequency = weights.take("freq_new_pos_embed", 1, width, None, 1)
    time = weights.take("time_new_pos_embed", 1, width, 1, None)
    grid = _grid(checkpoint, frequency.shape[2], time.shape[3])
    depth, state = timm.take_blocks(weights, "", width)
    # (1, width, rows, columns) to (1, rows * columns, width): frequency-major.
    positions = (time.float() + frequency.float()).flatten(2).transpose(1, 2)
    state |= {
        "patch.weight": kernel.transpose(2, 3),  # theirs is (frequency, time)
        "patch.bias": weights.take("patch_embed.proj.bias", width),
        "prefix_tokens": torch.cat(prefix_tokens, 1),
        "positions": torch.cat([prefix_positions.float(), positions], 1),
    }
    state |= weights.layer("norm", "norm", width)
    classes = None
    if has_head := weights.has("head."):
        state |= weights.layer("head_norm", "head.0", width)
        head = weights.layer("head", "head.1", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    labels = labels_for(checkpoint.labels, classes, where)
    assumed = assumed_labels(labels)
    if not has_head:
        state |= fresh_head(width, len(labels))
        assumed["head"] = FRESH_HEAD
    config = from_family(
        "passt", name=where, labels=labels, width=width, depth=depth,
        heads=timm.heads_of(width, where, checkpoint.heads), frames=grid.frames,
        stride=grid.stride, eps=timm.EPS, head_eps=timm.HEAD_EPS, **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state, assumed)


def _grid(checkpoint: Checkpoint, rows: int, columns: int) -> PatchGrid:
    """Stride and length from the sizes of the tables.

    The length is that of whole seconds, if a number of them has as many columns.
    """
    known = STRIDES.get(rows)
    stride = checkpoint.stride or (None if known is None else (known, known))
    if stride is None or (MELS - PATCH) // stride[0] + 1 != rows:
        raise SpectrimError(
            f"{checkpoint.where}: {rows} rows of positions do not match "
            + (f"a stride of {stride}." if stride else "a known stride. Pass stride=.")
        )
    shortest = (columns - 1) * stride[1] + PATCH
    whole = -(-shortest // SECOND) * SECOND
    has_whole = PatchGrid(whole, MELS, stride).columns == columns
    return PatchGrid(whole if has_whole else shortest, MELS, stride)
