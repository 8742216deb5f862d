"""Merge patches that are neighbours in time only, as A-ToMe does for speech.

Li et al., "Accelerating Transducers through Adjacent Token Merging" (Interspeech 2023, arXiv
2306.16009), on the rows of a spectrogram.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..context import Context
from ..merging import half_stays, mean_keys, merged_pairs, num_merged
from ..tokens import Tokens
from .registry import every_block, register


@register(
    "adjacent",
    blocks=every_block,
    tokens_after=half_stays,
    needs_scores=False,
    needs_block=True,
)
def adjacent(
    tokens: Tokens,
    scores: Tensor | None,
    count: int,
    context: Context,
    *,
    proportional: bool = True,
) -> Tokens:
    """Merge the most similar neighbours in time until `count` are left; at most half at once.

    Neighbours stand in the same frequency row, with no other token between them. Pairs that share
    no token merge first, the most similar pair first; further merges extend these pairs.

    Args:
        proportional: whether attention weighs merged tokens by their size. ToMe's authors turn it
            off for masked auto-encoders before fine-tuning and in training.
    """
    present = tokens.present
    # Sort the tokens by frequency row, then by time: neighbours in time stand side by side.
    column, row = context.clips.grid.locate(tokens.origin).unbind(-1)
    position = row * context.clips.grid.columns + column
    if present is not None:
        position = torch.where(present, position, context.clips.grid.count)
    sequence = position.argsort(dim=1, stable=True)
    rows = row.gather(1, sequence)
    keys = mean_keys(context.k, tokens.num_prefix_tokens)
    keys = keys.gather(1, sequence[..., None].expand(-1, -1, keys.shape[2]))
    # Link i connects tokens i and i + 1 of the sequence.
    similarity = (keys[:, :-1] * keys[:, 1:]).sum(-1)
    is_link = rows[:, :-1] == rows[:, 1:]
    if present is not None:
        is_present = present.gather(1, sequence)
        is_link = is_link & is_present[:, :-1] & is_present[:, 1:]
    similarity = similarity.masked_fill(~is_link, -torch.inf)

    most, numbers = num_merged(tokens, count, context.counts)
    is_chosen = _chosen(similarity, is_link, most, numbers)

    # Chosen links connect runs of tokens; all tokens of a run join its first one.
    joins = functional.pad(is_chosen, (1, 0))  # token i joins token i - 1
    head = last_marked(~joins)
    by_leaving = (~joins).int().argsort(dim=1, stable=True)  # tokens that join, in sequence order
    leaving = by_leaving[:, :most]
    into = head.gather(1, leaving)
    leaving, into = sequence.gather(1, leaving), sequence.gather(1, into)
    return merged_pairs(
        tokens, context, leaving, into, sequence, numbers, proportional=proportional
    )


def _chosen(similarity: Tensor, is_link: Tensor, most: int, numbers: Tensor | None) -> Tensor:
    """(batch, links) bool: the `most` links that merge (`numbers` of each clip, if they differ).

    First the links that a greedy choice takes, highest similarity first, then the others. Where
    frequency rows hold too few tokens, the end of a row joins the beginning of the next row.
    """
    is_greedy = matching(similarity)
    by_similarity = similarity.argsort(dim=1, descending=True, stable=True)
    group = torch.where(is_link, torch.where(is_greedy, 0, 1), 2)
    in_groups = group.gather(1, by_similarity).argsort(dim=1, stable=True)
    order = by_similarity.gather(1, in_groups)[:, :most]
    is_taken = torch.ones_like(order, dtype=torch.bool)
    if numbers is not None:
        is_taken = torch.arange(most, device=order.device) < numbers[:, None]
    return torch.zeros_like(is_link).scatter(1, order, is_taken)


def matching(similarity: Tensor) -> Tensor:
    """(batch, links) bool: the links that a greedy matching takes along a sequence.

    Greedy: take the link of highest similarity, discard the two links that share a token with it,
    repeat. Equal similarities: the earlier link first. On a sequence this has a closed form. A
    link is taken if and only if no neighbouring link of higher similarity is taken. Walking
    uphill from a link to the peak, links are taken and discarded in turns, so a link is taken if
    the peak on its uphill side is an even number of steps away. In a valley both sides must be.

    Example: similarities 5 3 4 2 1. Peaks are 5 and 4, taken. 3 lies one step from both: no. 2
    lies one step from 4: no. 1 lies two steps from 4: taken.
    """
    places = torch.arange(similarity.shape[1], device=similarity.device)
    is_higher_left = similarity[:, :-1] >= similarity[:, 1:]
    is_uphill_left = functional.pad(is_higher_left, (1, 0))  # the first link has no left side
    is_uphill_right = functional.pad(~is_higher_left, (0, 1))
    # Steps to the nearest link, on this side, from which it no longer goes uphill.
    steps_left = places - last_marked(~is_uphill_left)
    steps_right = next_marked(~is_uphill_right) - places
    return (steps_left % 2 == 0) & (steps_right % 2 == 0)


def last_marked(is_marked: Tensor) -> Tensor:
    """(batch, n) bool to (batch, n): the last marked place up to each place; the first is marked.

    A running maximum of the marked places does the same, but ONNX has none.
    """
    number = is_marked.long().cumsum(1)  # of marks up to each place
    return _marked_places(is_marked, number).gather(1, number - 1)


def next_marked(is_marked: Tensor) -> Tensor:
    """(batch, n) bool to (batch, n): the next marked place from each place; the last is marked."""
    number = is_marked.long().cumsum(1)
    return _marked_places(is_marked, number).gather(1, number - is_marked.long())


def _marked_places(is_marked: Tensor, number: Tensor) -> Tensor:
    """(batch, n + 1): the marked places in order, then unused entries.

    Args:
        number: of marks up to each place.
    """
    n = is_marked.shape[1]
    places = torch.arange(n, device=number.device).expand_as(number)
    slots = torch.where(is_marked, number - 1, n)  # places without a mark go to the last entry
    return torch.zeros_like(functional.pad(number, (0, 1))).scatter(1, slots, places)
