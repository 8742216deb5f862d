"""How the tokens that a ranking does not favour go: functions to fewer tokens.

A reduction is `(tokens, scores, count, context) -> tokens`: scores are (batch, patches),
count is how many patches shall stay. One that leaves another number of tokens than `count`
says so with an attribute `tokens_after(arriving, count)`, so that costs stay right.
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
    """Keep the `count` patches of highest score, sorted, highest first."""
    return tokens.take(ranked(tokens, scores)[:, :count])


def ranked(tokens: Tokens, scores: Tensor) -> Tensor:
    """(batch, patches) positions by score, highest first, ties by lower patch index.

    Two stable sorts, since a top-k leaves ties open and differs between backends. Absent
    tokens come last.
    """
    index = tokens.origin
    if tokens.present is not None:
        scores = torch.where(tokens.present, scores, -math.inf)
        index = torch.where(tokens.present, index, index + index.max() + 1)
    by_index = index.argsort(1)
    by_score = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
    return by_index.gather(1, by_score)


REDUCTIONS: dict[str, Reduction] = {"keep-top": keep_top}
