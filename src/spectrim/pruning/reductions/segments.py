"""Keep the best patches of each time segment, so that no part of a clip is lost.

After "Segmentwise Pruning in Audio-Language Models" (arXiv 2511.14293).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...common.errors import SpectrimError
from ..context import Context
from ..ranking import ranked
from ..tokens import Tokens
from .keep_top import first_of
from .registry import papers_blocks, register


@register("segments", blocks=papers_blocks)
def segments(
    tokens: Tokens,
    scores: Tensor,
    count: int,
    context: Context,
    *,
    segments: int = 10,
) -> Tokens:
    """Keep `count` patches, count // segments of them from each segment of the clip.

    The time columns are divided into equal segments; all frequency rows of a segment compete. The
    remainder, and the share of a segment that holds fewer patches, go to the patches with the
    next highest scores, so that exactly `count` patches stay.

    Args:
        segments: number of segments, at least 1.

    Raises:
        SpectrimError: no segment.
    """
    if segments < 1:
        raise SpectrimError(f"segments is {segments}; expected at least 1.")
    grid = context.clips.grid
    order = ranked(tokens, scores)
    columns = grid.locate(tokens.origin.gather(1, order))[..., 0]
    segment = columns * segments // grid.columns  # (batch, patches) in the order of the scores

    # Rank within the segment: how many patches of the same segment stand before, in score order.
    is_member = segment[..., None] == torch.arange(segments, device=segment.device)
    ranks = is_member.long().cumsum(1).gather(2, segment[..., None])[..., 0] - 1
    counts = torch.full_like(order[:, :1], count)
    if context.counts is not None:
        counts = context.counts[:, None]
    behind = ranks >= counts // segments
    if tokens.present is not None:
        present = tokens.present.gather(1, order)
        behind = behind.int() + 2 * (~present).int()
    # Patches within the share of their segment first, each group in the order of the scores.
    chosen = behind.int().argsort(dim=1, stable=True)
    if tokens.present is None:
        # Keep the order of the scores among the chosen patches.
        chosen = chosen[:, :count].sort(1).values
    else:
        places = torch.arange(tokens.count, device=order.device).expand_as(chosen)
        is_kept = torch.zeros_like(places).scatter(1, chosen, (places < counts).long())
        chosen = (1 - is_kept).argsort(dim=1, stable=True)
    return first_of(tokens, order.gather(1, chosen)[:, :count], context)
