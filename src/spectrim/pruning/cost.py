"""What a plan costs, in multiply-accumulates (MACs)."""

from __future__ import annotations

from dataclasses import dataclass

from .patches import PATCH
from .plan import Plan


@dataclass(frozen=True)
class Shape:
    """What the cost of a transformer depends on."""

    patches: int
    num_prefix_tokens: int
    width: int
    depth: int
    classes: int
    mlp: int = 4


def macs(shape: Shape, plan: Plan) -> int:
    """Multiply-accumulates for one clip.

    After Table II of the paper: N * 256 * D for the patches; per block, with T tokens
    at the attention and T' at the MLP (special ones included), 4 * T * D^2 + 2 * T^2 * D +
    8 * T' * D^2; D * classes for the head. Ranking is not counted (`ranking_macs`), nor are
    norms, softmax and what a user's own score or reduction computes.
    """
    width = shape.width
    total = shape.patches * PATCH * PATCH * width + width * shape.classes
    for at_attention, at_mlp in plan.counts(shape.patches, shape.depth):
        tokens, after = at_attention + shape.num_prefix_tokens, at_mlp + shape.num_prefix_tokens
        total += 4 * tokens * width**2 + 2 * tokens**2 * width
        total += 2 * shape.mlp * after * width**2
    return total


def ranking_macs(shape: Shape, plan: Plan, has_class_token: bool) -> int:
    """What ranking by attention adds: the class token's row; the full map is used anyway."""
    total = 0
    for block, (arriving, left) in enumerate(plan.counts(shape.patches, shape.depth)):
        stage = plan.at(block)
        if stage is not None and left < arriving and has_class_token and stage.score == "attention":
            total += (arriving + shape.num_prefix_tokens) * shape.width
    return total
