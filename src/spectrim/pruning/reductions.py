"""Reductions remove the tokens that a ranking puts last.

A reduction is `(tokens, scores, count, context) -> tokens`: scores are (batch, patches), count is
the number of patches to keep. It may declare properties as attributes:

    tokens_after: a function (arriving, count) to the number of tokens that it leaves, if that is
        not `count`; costs are computed from it.
    exportable: False if an exported model would give other results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from .context import Context
from .tokens import Tokens

Reduction: TypeAlias = Callable[[Tokens, Tensor, int, Context], Tokens]


def keep_top(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Keep the `count` patches with the highest scores, highest first."""
    return tokens.take(ranked(tokens, scores)[:, :count])


def ranked(tokens: Tokens, scores: Tensor) -> Tensor:
    """(batch, patches) positions by score, highest first, ties by lower patch index.

    Two stable sorts, because top-k leaves the order of ties open and differs between backends:
    first by patch index, then by score. Absent tokens come last.
    """
    index = tokens.origin
    if tokens.present is not None:
        scores = torch.where(tokens.present, scores, -math.inf)
        index = torch.where(tokens.present, index, index + index.max() + 1)
    by_index = index.argsort(1)
    by_score = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
    return by_index.gather(1, by_score)


REDUCTIONS: dict[str, Reduction] = {"keep-top": keep_top}
