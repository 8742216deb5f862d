"""Scores computed from a block's attention, values or MLP, beside the paper's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..context import Context
from .registry import register


def _class_row_macs(tokens: int, width: int, has_class_token: bool) -> int:
    return tokens * width if has_class_token else 0


def _without_class_token(has_class_token: bool) -> bool:
    return not has_class_token


@register("received", needs_attention_map=True, needs_block=True)
def received(context: Context) -> Tensor:
    """Attention that a patch receives from the patches (eq. 2a), with a class token too."""
    return context.column_mean()


@register(
    "value-attention",
    needs_attention_map=_without_class_token,
    needs_block=True,
    ranking_macs=lambda tokens, width, has_class_token: (
        tokens * width + _class_row_macs(tokens, width, has_class_token)
    ),
)
def value_attention(context: Context) -> Tensor:
    """Attention received, times the norm of the patch's values over all heads.

    As in the code of ATS (arXiv 2111.15667, eq. 3 sums head by head). Sums to 1 in each clip.
    """
    values = context.v[:, :, context.tokens.num_prefix_tokens :]
    norms = values.float().square().sum((1, 3)).sqrt()
    scores = context.attention_received() * norms
    if context.tokens.present is not None:
        scores = scores * context.tokens.present
    return scores / scores.sum(1, keepdim=True)


@register("head-max", needs_block=True, ranking_macs=_class_row_macs)
def head_max(context: Context) -> Tensor:
    """The highest attention of any head: of the class token, else the mean over patches."""
    if context.clips.has_class_token:
        return context.class_rows().amax(1).float()
    return _patch_map(context).mean(2).amax(1).float()


@register("shift", place="after", needs_block=True)
def shift(context: Context) -> Tensor:
    """Norm of what the block's MLP adds to a patch.

    Representation Shift (arXiv 2508.00367), with the MLP as the layer and the L2 norm. It needs no
    attention map. The stage stands after the MLP.
    """
    return context.mlp_update().float().norm(dim=-1)


ITERATIONS = (40, 8, 1)  # in the first, middle and last third of the blocks
VARIANCES = (0.01, 0.7)  # of a head whose ranking counts


@register(
    "pagerank",
    needs_block=True,
)
def pagerank(context: Context, *, iterations: int | None = None) -> Tensor:
    """Importance of a patch in the graph of attention, in which important tokens vote.

    Weighted page rank of Zero-TPrune (arXiv 2305.17328, section 3.2): s becomes A^T s, from equal
    importance of all tokens. Heads whose n * s has a variance outside 0.01 to 0.7 do not count,
    unless no head would be left. The result is the root mean square over heads.

    Args:
        iterations: None: 40, 8 and 1 in the first, middle and last third of the blocks.
    """
    block, depth = int(context.block), context.clips.depth
    if iterations is None:
        iterations = ITERATIONS[min(2, block * 3 // depth)]
    attention = context.attention_map()
    prefix, present = context.tokens.num_prefix_tokens, context.tokens.present
    presence = attention.new_ones(attention.shape[0], attention.shape[2])
    if present is not None:
        presence[:, prefix:] = present.to(presence.dtype)
    numbers = presence.sum(1)[:, None, None]
    importance = (presence[:, None] / numbers).expand(-1, attention.shape[1], -1)
    for _ in range(iterations):
        importance = (importance[:, :, None] @ attention)[:, :, 0]
    scaled = importance * numbers
    mean = scaled.sum(2, keepdim=True) / numbers
    variance = ((scaled - mean).square() * presence[:, None]).sum(2) / (numbers[..., 0] - 1).clamp(
        min=1
    )
    low, high = VARIANCES
    counts = ((variance >= low) & (variance <= high)).to(scaled.dtype)
    counts = torch.where(counts.sum(1, keepdim=True) > 0, counts, 1.0)
    squares = importance.square() * counts[..., None]
    return (squares.sum(1) / counts.sum(1, keepdim=True)).sqrt()[:, prefix:].float()


def _patch_map(context: Context) -> Tensor:
    """(batch, heads, patch queries, patch keys) attention; absent queries have weight 0.

    Scaled so that a mean over queries is a mean over those that are present.
    """
    prefix, present = context.tokens.num_prefix_tokens, context.tokens.present
    attention = context.attention_map()[:, :, prefix:, prefix:]
    if present is None:
        return attention
    weight = present / present.sum(1, keepdim=True) * present.shape[1]
    return attention * weight[:, None, :, None]
