"""ATS: sample the patches of a clip by their scores; clips keep different numbers.

Fayyaz et al., "Adaptive Token Sampling for Efficient Vision Transformers" (ECCV 2022, arXiv
2111.15667), section 3.2, with the sampling points of the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..context import Context
from ..tokens import Tokens, at_least_float32
from .registry import register


@register(
    "ats",
    default_score="value-attention",
    needs_positive_scores=True,
    adaptive=True,
    tokens_after=lambda arriving, count: count,
    exportable="clips keep different numbers of patches, and a graph has fixed shapes",
)
def ats(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Sample `count` times from the patches; repeated draws count once, so fewer may be left.

    The authors act in every block from 3 on. The default here is the pruning paper's three blocks,
    as for keep-top, because small transformers lose less accuracy there (`results/reductions`).

    The points of the samples are spaced evenly over the cumulative distribution of the scores.
    The original takes as many points as the network has input patches, in every block: pass a
    stage with that `count`. It lets padding move the points of a clip; here a clip's result never
    depends on its batch. Patches stand in descending order of score.
    """
    arriving = tokens.count
    device = tokens.x.device
    scores = scores.to(at_least_float32(scores.dtype))
    present = tokens.present
    if present is None:
        present = torch.ones_like(tokens.origin, dtype=torch.bool)
    numbers = present.sum(1, keepdim=True)
    # Ascending; absent tokens last, where they repeat the cumulative sum of the last patch.
    order = scores.masked_fill(~present, torch.inf).argsort(dim=1, stable=True)
    cumulative = torch.where(present, scores, 0.0).gather(1, order).cumsum(1)
    lowest, highest = cumulative[:, :1], cumulative.gather(1, numbers - 1)
    spread = (highest - lowest).clamp(min=torch.finfo(scores.dtype).tiny)
    cumulative = (cumulative - lowest) / spread

    # `count` points from the smallest value above 0 to 1.
    points_of_clip = torch.full_like(numbers, count)
    if context.requested is not None:
        points_of_clip = context.requested[:, None]
    above_zero = torch.where(cumulative > 0, cumulative, torch.inf)
    begin = above_zero.amin(1, keepdim=True).clamp(max=1.0)
    steps = torch.arange(count, device=device)
    fraction = steps / (points_of_clip - 1).clamp(min=1)
    points = begin + fraction * (1 - begin)

    # The nearest cumulative value of each point, the first one on a tie.
    right = torch.searchsorted(cumulative.contiguous(), points.contiguous())
    right = torch.minimum(right, numbers - 1)
    left = cumulative.gather(1, (right - 1).clamp(min=0))
    left = torch.searchsorted(cumulative.contiguous(), left)  # the first of equal values
    nearer_left = points - cumulative.gather(1, left) <= cumulative.gather(1, right) - points
    nearest = torch.where(nearer_left, left, right)
    is_sampled = torch.zeros_like(tokens.origin, dtype=torch.bool)
    is_point = (steps < points_of_clip).expand_as(nearest)
    # Points beyond the clip's own number repeat its last one.
    nearest = torch.where(is_point, nearest, nearest[:, :1])
    is_sampled = is_sampled.scatter(1, nearest, True)

    # Sampled patches first, highest score first.
    places = torch.arange(arriving, device=device)
    keys = torch.where(is_sampled, arriving - places, 2 * arriving)
    chosen = keys.argsort(dim=1, stable=True)[:, : min(count, arriving)]
    sampled_counts = is_sampled.sum(1, keepdim=True)
    kept = tokens.take(order.gather(1, chosen))
    return kept.with_present(places[: kept.count] < sampled_counts)
