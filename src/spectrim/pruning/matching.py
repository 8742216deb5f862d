"""Plans of equal cost: a keep rate for every block that costs what the paper's plan costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..common.errors import SpectrimError
from .components import declared, part_name, resolve
from .cost import Shape, macs
from .plan import Plan, paper_plan
from .reductions import REDUCTIONS, Reduction
from .reductions.registry import papers_blocks
from .scores import SCORES, Score

STEPS = 1000  # keep rates are multiples of 1 / STEPS


def usable_scores(
    reduction: str | Reduction, scores: Iterable[str | Score]
) -> list[str | Score | None]:
    """The scores that a reduction can use, in their order; [None] if it ranks by itself.

    Raises:
        SpectrimError: no score can be used.
    """
    reduce = resolve("reduction", reduction, REDUCTIONS, {})
    if not declared(reduce, "needs_scores", True):
        return [None]
    usable = [
        score
        for score in dict.fromkeys(scores)
        if declared(resolve("score", score, SCORES, {}), "positive", True)
        or not declared(reduce, "needs_positive_scores", False)
    ]
    if not usable:
        names = ", ".join(part_name(score) for score in scores)
        raise SpectrimError(
            f"the reduction {part_name(reduction)} weighs patches by their scores, and none of "
            f"{names} is positive. Add attention to the scores."
        )
    return [*usable]


def comparable_plan(
    shape: Shape,
    keep_rate: float,
    score: str | Score | None = None,
    blocks: Sequence[int | str] | str | None = None,
    reduction: str | Reduction = "keep-top",
    seed: int = 0,
) -> Plan:
    """A plan that can be compared with keep-top at `keep_rate`.

    A reduction that acts in other blocks than keep-top by default, such as "tome" in every block,
    gets the one keep rate for these blocks whose MACs are nearest to those of keep-top. If
    `blocks` are given, or the reduction acts where keep-top acts, the keep rate is taken as it is.
    An adaptive reduction is matched by the most patches that it may keep.
    """
    reduce = resolve("reduction", reduction, REDUCTIONS, {})
    default_blocks = declared(reduce, "blocks", papers_blocks)(shape.depth)

    def plan_with_rate(rate: float) -> Plan:
        return paper_plan(rate, score, blocks, reduction, seed, depth=shape.depth)

    are_papers_blocks = tuple(default_blocks) == papers_blocks(shape.depth)
    if blocks is not None or are_papers_blocks or keep_rate == 1.0:
        return plan_with_rate(keep_rate)
    target = macs(shape, paper_plan(keep_rate, depth=shape.depth))
    # MACs grow with the keep rate: halve the range until two neighbouring rates are left.
    low, high = 1, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if macs(shape, plan_with_rate(middle / STEPS)) < target:
            low = middle
        else:
            high = middle
    return min(
        (plan_with_rate(step / STEPS) for step in (low, high)),
        key=lambda plan: abs(macs(shape, plan) - target),
    )
