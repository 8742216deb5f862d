"""EViT: keep the top patches, and fuse the rest into one token.

Liang et al., "Not All Patches are What You Need" (ICLR 2022, arXiv 2202.07800), section 3.2.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..context import Context
from ..ranking import ranked
from ..tokens import Tokens
from .registry import papers_blocks, register


@register(
    "evit",
    blocks=papers_blocks,
    tokens_after=lambda arriving, count: count + 1,
    needs_positive_scores=True,
)
def evit(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Keep the `count` best patches, and append one token: the sum of score x token of the rest.

    As in the original code the sum is not divided by the sum of the scores. The fused token enters
    the MLP of the same block and is an ordinary patch from then on: it can be ranked and dropped.
    In mean pooling it counts as one patch.
    """
    order = ranked(tokens, scores)
    # Position of every token in the order: 0 for the best one.
    places = torch.arange(tokens.count, device=order.device).expand_as(order)
    rank = torch.zeros_like(order).scatter(1, order, places)
    present = tokens.present
    counts = torch.full_like(order[:, :1], count)
    if present is not None and context.counts is not None:
        counts = context.counts[:, None]
    is_fused = rank >= counts
    if present is not None:
        is_fused = is_fused & present
    weights = torch.where(is_fused, scores, 0.0).to(tokens.x.dtype)
    fused = weights[:, None] @ tokens.patches  # (batch, 1, width)

    # The kept tokens, then the fused one at position `counts` of each clip.
    left = tokens.take(order[:, : count + 1])
    slots = torch.arange(count + 1, device=order.device)
    is_fused_slot = slots == counts
    patches = torch.where(is_fused_slot[..., None], fused, left.patches)
    sizes = None if left.sizes is None else torch.where(is_fused_slot, 1, left.sizes)
    if present is not None:
        fuses = is_fused.any(1, keepdim=True)
        present = (slots < counts) | (is_fused_slot & fuses)
    # Tokens that are fused now stand at position `counts`.
    now = torch.where(is_fused, counts, rank)
    if tokens.present is not None:
        now = torch.where(tokens.present, now, -1)
    holders = tokens.holders(context.clips.grid.count)
    members = torch.where(holders < 0, -1, now.gather(1, holders.clamp(min=0)))
    return replace(
        left,
        x=torch.cat([tokens.x[:, : tokens.num_prefix_tokens], patches], 1),
        sizes=sizes,
        present=present,
        members=members,
    )
