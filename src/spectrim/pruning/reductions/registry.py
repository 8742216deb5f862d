"""The registered reductions, and what a reduction is.

A reduction is `(tokens, scores, count, context) -> tokens`: scores are (batch, patches), count is
the number of patches to keep; keyword-only parameters are its options. Where clips have absent
tokens, `context.counts` is the (batch,) number to keep of each clip, and the tokens that are
present must stand first. It may declare properties as attributes:

    tokens_after: a function (arriving, count) to the number of tokens that it leaves, if that is
        not `count`; costs are computed from it.
    blocks: a function of the model's depth to the blocks in which it acts by default.
    needs_scores: False if it ranks by itself; it gets None as scores.
    needs_positive_scores: True if it weighs patches by their scores.
    needs_block: True if it reads the attention of its block.
    default_score: the score that it is combined with by default.
    adaptive: True if clips keep different numbers of patches, at most `tokens_after`. It gets
        the requested count, which may exceed the patches that arrive.
    exportable: False if an exported model would give other results; a text names the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..components import registrar
from ..defaults import DEFAULT_BLOCKS
from ..tokens import Tokens

Reduction: TypeAlias = Callable[..., Tokens]
"""(tokens, scores, count, context) to tokens."""

REDUCTIONS: dict[str, Reduction] = {}
register = registrar(REDUCTIONS)


def papers_blocks(depth: int) -> tuple[int, ...]:
    """The three blocks in which the paper prunes, a quarter, half and three quarters of its models.

    A model that is too short for them is pruned at the same fractions of its own depth.
    """
    if depth > max(DEFAULT_BLOCKS):
        return DEFAULT_BLOCKS
    return tuple(sorted({depth * quarters // 4 for quarters in (1, 2, 3)}))


def every_block(depth: int) -> tuple[int, ...]:
    """All blocks."""
    return tuple(range(depth))
