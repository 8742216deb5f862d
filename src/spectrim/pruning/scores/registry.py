"""The registered scores, and what a score is.

Scores rank patches: functions of a context to (batch, patches), highest kept first.

A score of your own is such a function, or a module with parameters. Pass it to `prune` as it is
or as the text "package.module:name". It may declare properties as attributes:

    needs_attention_map: True if it reads the whole attention map (`context.column_mean()`), so
        that the block computes the map once; or a function of `has_class_token` that returns
        this. (Its old name is `attention_map`.)
    positive: False if scores may be negative; reductions that weigh patches by scores refuse it.
    place: "after" if it ranks after the block's MLP only; see `Stage.place`.
    needs_block: True if it cannot rank at "input", before the first block.
    exportable: False if an exported model would give other results; a text names another
        reason.
    ranking_macs: a function of (tokens, width, has_class_token) to the multiply-accumulates that
        the ranking adds to its block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from ..components import declared, registrar
from ..context import Context

Score: TypeAlias = Callable[[Context], Tensor]
SCORES: dict[str, Score] = {}
register = registrar(SCORES)


def needs_attention_map(score: Score, has_class_token: bool) -> bool:
    """Whether a block should compute its attention map explicitly for this score."""
    value = declared(score, "needs_attention_map", declared(score, "attention_map", False))
    return bool(value(has_class_token) if callable(value) else value)
