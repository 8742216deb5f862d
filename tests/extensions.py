"""Rankings and reductions of a user's own, of which nothing under src/ knows.

Given to `prune` as they are, or by name: `score="extensions:peak"`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from spectrim.pruning.context import Context
from spectrim.pruning.reductions import merged, ranked
from spectrim.pruning.tokens import Tokens


def peak(context: Context) -> Tensor:
    """A user's score: the loudest value of each patch."""
    return context.patches().amax(-1)


def none(context: Context) -> Tensor:
    """For reductions that rank by themselves."""
    return torch.zeros_like(context.tokens.origin, dtype=torch.float32)


class Learned(nn.Module):
    """A score with a weight for every cell of a patch, taught to spread by a loss of its own."""

    def __init__(self, target: float = 0.5) -> None:
        super().__init__()
        self.target = target
        self.weigh = nn.Linear(256, 1)

    def forward(self, context: Context) -> Tensor:
        patches = context.patches().to(self.weigh.weight.dtype)
        scores = self.weigh(patches)[..., 0].sigmoid()
        context.losses.append((scores.mean() - self.target).square())
        return scores.float()


def merge(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Token merging (ToMe, arXiv 2210.09461): patches that look alike become one.

    Every other patch is linked to the most similar of the rest, by the mean key of the heads;
    the most similar pairs are averaged, weighted by size. At most half can go at once.
    """
    gone = tokens.count - merge_leaves(tokens.count, count)
    keys = nn.functional.normalize(context.k[:, :, tokens.num_prefix_tokens :].mean(1), dim=-1)
    best, partner = (keys[:, ::2] @ keys[:, 1::2].transpose(1, 2)).max(2)
    order = best.argsort(dim=1, descending=True, stable=True)
    goes, stays = order[:, :gone], order[:, gone:].sort(1).values
    target = partner.gather(1, goes)  # counted among the odd ones

    even, odd, width = stays * 2, slice(1, None, 2), tokens.x.shape[2]
    sizes = torch.ones_like(tokens.origin) if tokens.sizes is None else tokens.sizes
    total = tokens.patches * sizes[..., None].to(tokens.x.dtype)
    gained = total.gather(1, _wide(goes * 2, width))
    into = total[:, odd].scatter_add(1, _wide(target, width), gained)
    sizes_into = sizes[:, odd].scatter_add(1, target, sizes.gather(1, goes * 2))
    alone = tokens.patches.gather(1, _wide(even, width))
    patches = torch.cat([alone, into / sizes_into[..., None].to(into.dtype)], 1)

    # Where each of the arriving tokens is now.
    places = torch.arange(tokens.count, device=tokens.x.device).expand_as(tokens.origin)
    odds = places[:, odd] // 2 + stays.shape[1]
    now = torch.zeros_like(places).scatter(1, places[:, odd], odds)
    now = now.scatter(1, even, places[:, : even.shape[1]])
    now = now.scatter(1, goes * 2, target + stays.shape[1])
    return replace(
        tokens.with_x(torch.cat([tokens.x[:, : tokens.num_prefix_tokens], patches], 1)),
        origin=torch.cat([tokens.origin.gather(1, even), tokens.origin[:, odd]], 1),
        sizes=torch.cat([sizes.gather(1, even), sizes_into], 1),
        members=now if tokens.members is None else now.gather(1, tokens.members),
    )


def merge_leaves(arriving: int, count: int) -> int:
    return max(count, arriving // 2)


merge.tokens_after = merge_leaves  # type: ignore[attr-defined]


def fuse(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """EViT (arXiv 2202.07800): what is not kept goes on as one token, its weighted mean."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    top, rest = order[:, :count], order[:, count:]
    weight = scores.gather(1, rest).to(tokens.x.dtype)
    weight = weight / weight.sum(1, keepdim=True)
    lost = tokens.patches.gather(1, _wide(rest, tokens.x.shape[2]))
    fused = (weight[..., None] * lost).sum(1, keepdim=True)
    kept = tokens.take(top)
    places = torch.arange(tokens.count, device=order.device).expand_as(order)
    now = torch.zeros_like(order).scatter(1, order, places.clamp(max=count))
    before = tokens.members
    return replace(
        kept,
        x=torch.cat([kept.x, fused], 1),
        origin=torch.cat([kept.origin, tokens.origin.gather(1, rest[:, :1])], 1),
        members=now if before is None else now.gather(1, before),
    )


def fuse_leaves(arriving: int, count: int) -> int:
    return count + 1


fuse.tokens_after = fuse_leaves  # type: ignore[attr-defined]


def distinct(context: Context) -> Tensor:
    """A score that handles absent tokens: keys that differ most from the clip's mean key."""
    tokens = context.tokens
    keys = context.k[:, :, tokens.num_prefix_tokens :].mean(1)
    present = torch.ones_like(tokens.origin) if tokens.present is None else tokens.present
    weights = present[..., None].to(keys.dtype)
    mean = (keys * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
    return (keys - mean).norm(dim=-1)


distinct.needs_block = True  # type: ignore[attr-defined]


def join(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """A reduction that handles absent tokens: patches join the most similar of the best ones."""
    order = ranked(tokens, scores)  # absent tokens come last
    best = order[:, :count]
    values = nn.functional.normalize(tokens.patches, dim=-1)
    width = values.shape[2]
    cosines = values.gather(1, _wide(order, width)) @ values.gather(1, _wide(best, width)).mT
    # A clip with absent tokens keeps its own number of patches, as if it were alone.
    places = torch.arange(tokens.count, device=order.device)
    counts = count if context.counts is None else context.counts[:, None]
    is_best = (places < counts).expand_as(order)
    is_merged = ~is_best
    if tokens.present is not None:
        is_merged = is_merged & tokens.present.gather(1, order)
    cosines = cosines.masked_fill(~is_best[:, None, :count], -torch.inf)
    into = torch.where(is_merged, best.gather(1, cosines.argmax(2)), order)
    return merged(
        tokens,
        leaving=order,
        into=into,
        order=best,
        num_input_patches=context.clips.grid.count,
        is_merged=is_merged,
        present=None if tokens.present is None else is_best[:, :count],
    )


def _wide(index: Tensor, width: int) -> Tensor:
    """(batch, n) to (batch, n, width), to gather or scatter whole tokens."""
    return index[..., None].expand(-1, -1, width)
