"""DiffRate: prune the patches with the lowest scores, then merge the next ones into the best.

Chen et al., "DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (ICCV
2023, arXiv 2305.17997), section 3, with given counts.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ...common.errors import SpectrimError
from ..context import Context
from ..merging import merged
from ..ranking import ranked
from ..tokens import Tokens
from .keep_top import first_of
from .registry import register

SMALLEST_SIZE = 1e-6


def _all_but_the_first(depth: int) -> tuple[int, ...]:
    return tuple(range(1, depth))


@register("diffrate", blocks=_all_but_the_first)
def diffrate(
    tokens: Tokens,
    scores: Tensor,
    count: int,
    context: Context,
    *,
    prune_to: int | None = None,
) -> Tokens:
    """Drop the worst patches until `prune_to` are left, then merge the worst of these.

    Each merged patch joins the most similar (cosine of the token) of the `count` best. As in the
    original code the mean is not weighted by size, and the size of the patch that it joins grows
    by its own size times the cosine. Attention is weighted by size.

    Args:
        prune_to: number of patches after dropping, at least `count`; None: half of the patches
            that leave are dropped, and half are merged.

    Raises:
        SpectrimError: `prune_to` is below `count`.
    """
    arriving = tokens.count
    if prune_to is not None and prune_to < count:
        raise SpectrimError(
            f"diffrate: prune_to is {prune_to}, but {count} patches should be left. Prune to at "
            "least as many."
        )
    after_pruning = (arriving + count + 1) // 2 if prune_to is None else min(prune_to, arriving)
    order = ranked(tokens, scores)
    if after_pruning == count:
        return first_of(tokens, order[:, :count], context)
    best, leaving = order[:, :count], order[:, count:after_pruning]
    is_merged = is_target = None
    if tokens.present is not None and context.counts is not None:
        # Clips keep different numbers: those that merge stand at different places of the order.
        counts, arrived = context.counts[:, None], tokens.present.sum(1, keepdim=True)
        to = (arrived + counts + 1) // 2 if prune_to is None else arrived.clamp(max=prune_to)
        leaving = order[:, :after_pruning]
        places = torch.arange(after_pruning, device=order.device)
        is_merged = (places >= counts) & (places < to)
        is_target = places[:count] < counts

    values = functional.normalize(tokens.patches, dim=-1)
    cosines = _rows(values, leaving) @ _rows(values, best).transpose(1, 2)
    if is_target is not None:
        cosines = cosines.masked_fill(~is_target[:, None], -torch.inf)
    highest = cosines.max(2)
    into, gains = best.gather(1, highest.indices), highest.values
    if is_merged is not None:
        into = torch.where(is_merged, into, leaving)
    if tokens.sizes is not None:
        gains = gains * tokens.sizes.gather(1, leaving)
    left = merged(
        tokens,
        leaving,
        into,
        best,
        context.clips.grid.count,
        weights=torch.ones_like(tokens.origin),
        gains=gains,
        is_merged=is_merged,
        present=is_target,
    )
    assert left.sizes is not None
    # A negative cosine lowers a size; its logarithm must stay finite.
    return replace(left, sizes=left.sizes.clamp(min=SMALLEST_SIZE))


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """(batch, patches, width) at (batch, n): (batch, n, width)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
