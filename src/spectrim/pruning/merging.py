"""Merging of tokens: tokens that leave are averaged into tokens that stay."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .context import Context
from .tokens import Tokens, at_least_float32


def merged(
    tokens: Tokens,
    leaving: Tensor,
    into: Tensor,
    order: Tensor,
    num_input_patches: int,
    *,
    weights: Tensor | None = None,
    gains: Tensor | None = None,
    is_merged: Tensor | None = None,
    present: Tensor | None = None,
    proportional: bool = True,
) -> Tokens:
    """Average tokens into others, weighted by size; sizes add up.

    Tokens that are neither in `order` nor in `leaving` are dropped.

    Args:
        leaving: (batch, r) positions of the tokens that leave.
        into: (batch, r) positions of the tokens that each of them joins; these stay.
        order: (batch, count) positions of the tokens that stay, in their new order.
        num_input_patches: of the model, for `Tokens.members`.
        weights: (batch, patches) weight of each token in the averages; None: its size.
        gains: (batch, r) what each leaving token adds to the size of the one it joins; None: its
            size.
        is_merged: (batch, r) bool; False marks an entry of `leaving` that is empty, because this
            clip merges fewer tokens than others. Its `into` must equal its `leaving`.
        present: (batch, count) bool of the tokens that stay; None: all.
        proportional: see `Tokens`.
    """
    sizes = tokens.sizes
    if sizes is None:
        sizes = torch.ones_like(tokens.origin, dtype=tokens.x.dtype)
    weights = (sizes if weights is None else weights).to(tokens.x.dtype)
    added = weights.gather(1, leaving)
    gains = sizes.gather(1, leaving) if gains is None else gains
    if is_merged is not None:
        added, gains = added * is_merged, gains * is_merged

    # Sum of weighted tokens and sum of weights, at the positions of the tokens that stay.
    patches = tokens.patches
    width = patches.shape[2]
    total = patches * weights[..., None]
    sources = patches.gather(1, _wide(leaving, width)) * added[..., None]
    total = total.scatter_add(1, _wide(into, width), sources).gather(1, _wide(order, width))
    mass = weights.scatter_add(1, into, added).gather(1, order)
    averages = total / mass[..., None]

    # The new position of every arriving token: its own, or that of the token it joined.
    places = torch.full_like(tokens.origin, -1)
    new = torch.arange(order.shape[1], device=order.device).expand_as(order)
    places = places.scatter(1, order, new)
    places = places.scatter(1, leaving, places.gather(1, into))
    holders = tokens.holders(num_input_patches)
    members = torch.where(holders < 0, -1, places.gather(1, holders.clamp(min=0)))
    merged = replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.num_prefix_tokens], averages], 1),
        origin=tokens.origin.gather(1, order),
        sizes=sizes.scatter_add(1, into, gains.to(sizes.dtype)).gather(1, order),
        present=None,
        members=members,
        proportional=proportional,
    )
    return merged if present is None else merged.with_present(present)


def merged_pairs(
    tokens: Tokens,
    context: Context,
    leaving: Tensor,
    into: Tensor,
    sequence: Tensor,
    numbers: Tensor | None,
    *,
    proportional: bool,
) -> Tokens:
    """Merge pairs, of which clips with absent tokens use the first `numbers` only.

    Args:
        leaving, into: (batch, r) pairs, the best first; see `merged`.
        sequence: (batch, patches) all positions in the order in which those that stay shall stand.
        numbers: (batch,) pairs that each clip merges, see `num_merged`; None: all of them.
        proportional: see `Tokens`.
    """
    pairs = leaving.shape[1]
    stays = torch.ones_like(tokens.origin, dtype=torch.bool)
    is_merged = present = None
    if numbers is not None and tokens.present is not None:
        is_merged = torch.arange(pairs, device=leaving.device) < numbers[:, None]
        into = torch.where(is_merged, into, leaving)
        stays = tokens.present
    is_leaving = torch.ones_like(leaving, dtype=torch.bool) if is_merged is None else is_merged
    stays = stays & ~torch.zeros_like(stays).scatter(1, leaving, is_leaving)
    # Those that stay first, in the order of the sequence.
    behind = ~stays.gather(1, sequence)
    count = tokens.count - pairs
    order = sequence.gather(1, behind.int().argsort(dim=1, stable=True))[:, :count]
    if is_merged is not None:
        places = torch.arange(count, device=order.device)
        present = places < stays.sum(1, keepdim=True)
    return merged(
        tokens,
        leaving,
        into,
        order,
        context.clips.grid.count,
        is_merged=is_merged,
        present=present,
        proportional=proportional,
    )


def _wide(index: Tensor, width: int) -> Tensor:
    """(batch, n) to (batch, n, width), to gather or scatter whole tokens."""
    return index[..., None].expand(-1, -1, width)


def mean_keys(k: Tensor, num_prefix_tokens: int) -> Tensor:
    """(batch, heads, tokens, d) keys to (batch, patches, d): mean over heads, of length 1.

    At least float32, so that half-precision models choose the same partners.
    """
    keys = k[:, :, num_prefix_tokens:].mean(1)
    keys = keys.to(at_least_float32(keys.dtype))
    return torch.nn.functional.normalize(keys, dim=-1)


def half_stays(arriving: int, count: int) -> int:
    """Tokens after a merge that cannot merge more than half: max(count, arriving - arriving//2)."""
    return max(count, arriving - arriving // 2)


def num_merged(tokens: Tokens, count: int, counts: Tensor | None) -> tuple[int, Tensor | None]:
    """How many tokens merge: the most of any clip, and (batch,) of each clip if they differ.

    Args:
        count: to keep in a clip in which all tokens are present.
        counts: to keep in each clip (`Context.counts`); None: the same in all.
    """
    most = tokens.count - half_stays(tokens.count, count)
    if tokens.present is None or counts is None:
        return most, None
    arriving = tokens.present.sum(1)
    return most, arriving - torch.maximum(counts, arriving - arriving // 2)
