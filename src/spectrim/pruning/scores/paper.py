"""The paper's scores: attention, intensity and variation, and random scores as a control."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..context import Context
from .registry import register


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
    return sound_first(context, context.clips.mean_and_std()[0])


@register("variation", positive=False)
def variation(context: Context) -> Tensor:
    """Unbiased standard deviation of the same values; minus infinity for padding."""
    return sound_first(context, context.clips.mean_and_std()[1])


@register("intensity-padded", positive=False)
def intensity_padded(context: Context) -> Tensor:
    """The paper's intensity: mean of a patch, padding at the clip's minimum included."""
    clips = context.clips
    return sound_first(context, clips.once("mean", lambda: clips.patches().mean(-1)))


@register("variation-padded", positive=False)
def variation_padded(context: Context) -> Tensor:
    """The paper's variation: unbiased standard deviation of all 256 values, as above.

    The jump from sound to padding counts as variation, so patches at a clip's end rank high.
    """
    clips = context.clips
    return sound_first(context, clips.once("std", lambda: clips.patches().std(-1)))


# The numbers depend on the bits of the features, which differ between runtimes.
@register("random", exportable=False)
def random(context: Context) -> Tensor:
    """Uniform random numbers; a clip gets the same ones in any batch."""
    return context.uniform()


def sound_first(context: Context, values: Tensor) -> Tensor:
    """Values of the patches with sound; minus infinity for the others, so they rank last.

    Args:
        values: (clips, patches of the grid).

    Returns:
        (batch, patches) of the present tokens.
    """
    return torch.where(context.holds_sound(), context.carry(values), -math.inf)
