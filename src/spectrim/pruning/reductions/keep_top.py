"""Keep the patches with the highest scores: the paper's reduction."""

from __future__ import annotations

import torch
from torch import Tensor

from ..context import Context
from ..ranking import ranked
from ..tokens import Tokens
from .registry import papers_blocks, register


@register("keep-top", blocks=papers_blocks)
def keep_top(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Keep the `count` patches with the highest scores, highest first."""
    return first_of(tokens, ranked(tokens, scores, count), context)


def first_of(tokens: Tokens, order: Tensor, context: Context) -> Tokens:
    """The patches of an order (batch, count).

    A clip with absent tokens keeps its own number of them, `context.counts`.
    """
    kept = tokens.take(order)
    if kept.present is None or context.counts is None:
        return kept
    # A clip with fewer patches than the others keeps the same number as if it were alone.
    places = torch.arange(kept.count, device=kept.x.device)
    return kept.with_present(kept.present & (places < context.counts[:, None]))
