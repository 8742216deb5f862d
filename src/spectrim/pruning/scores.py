"""What ranks patches: functions of a context to (batch, patches), highest kept first.

Your own score is such a function, or a module with parameters; give it to `prune` as it is
or as the text "package.module:name". Set `attention_map = True` on it if it reads the whole
attention map (`context.column_mean()`), so that the block computes the map once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from .context import Context

Score: TypeAlias = Callable[[Context], Tensor]


def attention(context: Context) -> Tensor:
    """Attention that a patch receives: from the class token (AST) or from patches (AudioMAE)."""
    return context.attention_received()


def intensity(context: Context) -> Tensor:
    """Mean of the patch's 256 normalised log-mel values; minus infinity for padding."""
    clips = context.clips
    return _sound_first(context, clips.once("mean", lambda: clips.patches().mean(-1)))


def variation(context: Context) -> Tensor:
    """Unbiased standard deviation of the same values; minus infinity for padding."""
    clips = context.clips
    return _sound_first(context, clips.once("std", lambda: clips.patches().std(-1)))


def random(context: Context) -> Tensor:
    """Uniform draws; a clip draws the same in any batch."""
    return context.uniform()


def _sound_first(context: Context, values: Tensor) -> Tensor:
    return torch.where(context.holds_sound(), context.carry(values), -math.inf)


SCORES: dict[str, Score] = {
    "attention": attention,
    "intensity": intensity,
    "variation": variation,
    "random": random,
}


def wants_map(score: Score, has_class_token: bool) -> bool:
    """Whether a block should compute its attention map explicitly for this score."""
    score = getattr(score, "func", score)  # with options it is a functools.partial
    if score is attention:
        return not has_class_token
    return bool(getattr(score, "attention_map", False))
