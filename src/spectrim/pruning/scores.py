"""Scores rank patches: functions of a context to (batch, patches), highest kept first.

A score of your own is such a function, or a module with parameters. Pass it to `prune` as it is
or as the text "package.module:name". It may declare properties as attributes:

    needs_attention_map: True if it reads the whole attention map (`context.column_mean()`), so
        that the block computes the map once; or a function of `has_class_token` that returns
        this. (Its old name is `attention_map`.)
    positive: False if scores may be negative; reductions that weigh patches by scores refuse it.
    place: "after" if it ranks after the block's MLP only; see `Stage.place`.
    needs_block: True if it cannot rank at "input", before the first block.
    exportable: False if an exported model would give other results.
    ranking_macs: a function of (tokens, width, has_class_token) to the multiply-accumulates that
        the ranking adds to its block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from .context import Context
from .parts import declared

Score: TypeAlias = Callable[[Context], Tensor]
F = TypeVar("F", bound=Callable[..., Any])

SCORES: dict[str, Score] = {}


def register(name: str, **properties: Any) -> Callable[[F], F]:
    """Register a score under a name, with its properties (see above)."""

    def decorate(score: F) -> F:
        for key, value in properties.items():
            setattr(score, key, value)
        SCORES[name] = score
        return score

    return decorate


@register(
    "attention",
    needs_attention_map=lambda has_class_token: not has_class_token,
    needs_block=True,
    # Only the ranking uses the class token's row, but the block's output also uses a map.
    ranking_macs=lambda tokens, width, has_class_token: tokens * width if has_class_token else 0,
)
def attention(context: Context) -> Tensor:
    """Attention that a patch receives: from the class token (AST) or from patches (AudioMAE)."""
    return context.attention_received()


@register("intensity", positive=False)
def intensity(context: Context) -> Tensor:
    """Mean normalised log-mel of the patch's valid frames; minus infinity for padding."""
    return _sound_first(context, context.clips.mean_and_std()[0])


@register("variation", positive=False)
def variation(context: Context) -> Tensor:
    """Unbiased standard deviation of the same values; minus infinity for padding."""
    return _sound_first(context, context.clips.mean_and_std()[1])


@register("intensity-padded", positive=False)
def intensity_padded(context: Context) -> Tensor:
    """The paper's intensity: mean of all 256 values, padding at the clip's minimum included."""
    clips = context.clips
    return _sound_first(context, clips.once("mean", lambda: clips.patches().mean(-1)))


@register("variation-padded", positive=False)
def variation_padded(context: Context) -> Tensor:
    """The paper's variation: unbiased standard deviation of all 256 values, as above.

    The jump from sound to padding counts as variation, so patches at a clip's end rank high.
    """
    clips = context.clips
    return _sound_first(context, clips.once("std", lambda: clips.patches().std(-1)))


# The numbers depend on the bits of the features, which differ between runtimes.
@register("random", exportable=False)
def random(context: Context) -> Tensor:
    """Uniform random numbers; a clip gets the same ones in any batch."""
    return context.uniform()


def _sound_first(context: Context, values: Tensor) -> Tensor:
    return torch.where(context.holds_sound(), context.carry(values), -math.inf)


def needs_attention_map(score: Score, has_class_token: bool) -> bool:
    """Whether a block should compute its attention map explicitly for this score."""
    value = declared(score, "needs_attention_map", declared(score, "attention_map", False))
    return bool(value(has_class_token) if callable(value) else value)
