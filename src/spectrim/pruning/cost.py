"""Cost of a plan in multiply-accumulates (MACs)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .components import declared
from .patches import PATCH
from .plan import Plan

Count = TypeVar("Count", int, np.ndarray)


@dataclass(frozen=True)
class Shape:
    """The sizes on which the cost of a transformer depends."""

    patches: int
    num_prefix_tokens: int
    width: int
    depth: int
    classes: int
    mlp: int = 4
    patch_size: int = PATCH * PATCH


def macs(shape: Shape, plan: Plan) -> int:
    """Multiply-accumulates for one clip; the most for any clip if a reduction is adaptive."""
    return macs_of_counts(shape, plan.counts(shape.patches, shape.depth, shape.num_prefix_tokens))


def macs_of_counts(shape: Shape, counts: Iterable[tuple[Count, Count]]) -> Count:
    """Multiply-accumulates, given the patches at the attention and at the MLP of each block.

    After Table II of the paper: N * 256 * D for N patches of 256 values; per block, with T tokens
    at the attention and T' at the MLP (prefix tokens included), 4 * T * D^2 + 2 * T^2 * D +
    8 * T' * D^2; D * classes for the head. Not counted: ranking (`ranking_macs`), norms, softmax
    and the computations of a user's own score or reduction.

    Args:
        counts: a pair for each block, integers, or arrays (clips,) of each clip's numbers.
    """
    width = shape.width
    total: Any = shape.patches * shape.patch_size * width + width * shape.classes
    for arriving, left in counts:
        tokens, after = arriving + shape.num_prefix_tokens, left + shape.num_prefix_tokens
        total += 4 * tokens * width**2 + 2 * tokens**2 * width
        total += 2 * shape.mlp * after * width**2
    counted: Count = total
    return counted


def ranking_macs(shape: Shape, plan: Plan, has_class_token: bool) -> int:
    """Multiply-accumulates that ranking adds to one clip, as its scores declare them."""
    total = 0
    prefix = shape.num_prefix_tokens
    for block, (arriving, _) in enumerate(plan.counts(shape.patches, shape.depth, prefix)):
        stage = plan.at(block)
        if stage is not None and stage.rank is not None and stage.acts(arriving, prefix):
            score_macs = declared(stage.rank, "ranking_macs", lambda *_: 0)
            total += score_macs(arriving + prefix, shape.width, has_class_token)
    return total
