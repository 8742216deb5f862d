"""Merging of tokens: tokens that leave are averaged into tokens that stay."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

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
    return replace(
        tokens,
        x=torch.cat([tokens.x[:, : tokens.num_prefix_tokens], averages], 1),
        origin=tokens.origin.gather(1, order),
        sizes=sizes.scatter_add(1, into, gains.to(sizes.dtype)).gather(1, order),
        present=present,
        members=members,
        proportional=proportional,
    )


def remaining(
    sequence: Tensor, leaving: Tensor, is_merged: Tensor, tokens: Tokens, count: int
) -> tuple[Tensor, Tensor]:
    """Which tokens stay where clips merge different numbers; for `merged`.

    Args:
        sequence: (batch, patches) a permutation of all positions in the new order.
        leaving, is_merged: as in `merged`.
        tokens: with `present`.
        count: the most tokens that stay in any clip.

    Returns:
        order: (batch, count): `sequence` without the tokens that left or are absent, then these.
        present: (batch, count) bool: the first entries of each clip.
    """
    assert tokens.present is not None
    stays = tokens.present & ~torch.zeros_like(tokens.present).scatter(1, leaving, is_merged)
    behind = ~stays.gather(1, sequence)
    order = sequence.gather(1, behind.int().argsort(dim=1, stable=True))[:, :count]
    places = torch.arange(count, device=order.device)
    return order, places < stays.sum(1, keepdim=True)


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
