"""The plan that is recommended for a model, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..common.errors import SpectrimError
from .defaults import GENERIC_KEEP_RATE, GENERIC_REDUCTION, TRAINED_KEEP_RATE
from .plan import Plan, paper_plan
from .reductions import REDUCTIONS
from .saved_plans import Measured
from .scores import SCORES
from .trained_range import TrainedRange


@dataclass(frozen=True)
class Recommendation:
    """A plan, and what it gave on clips.

    Attributes:
        plan: its scores and reductions are names, and hold no parameters.
        measured: with this model's weights and features; None: not measured on this model.

    Raises:
        SpectrimError: a learned score or reduction, whose parameters only a model can hold.
    """

    plan: Plan
    measured: Measured | None = None

    def __post_init__(self) -> None:
        if self.plan.modules():
            raise SpectrimError(
                f"a recommended plan cannot contain learned scores or reductions, as in "
                f"{self.plan}. Save the model with the plan instead."
            )

    def __str__(self) -> str:
        measured = self.measured or "not measured on this model"
        return f"{self.plan}; {measured}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: {"plan": as `Plan.to_dict`, "measured": keys of `Measured`, or None}."""
        measured = None if self.measured is None else self.measured.to_dict()
        return {"plan": self.plan.to_dict(), "measured": measured}

    @classmethod
    def from_dict(cls, data: Any, trust_code: bool = False) -> Recommendation:
        """Read what `to_dict` wrote.

        Args:
            trust_code: whether the plan may import scores and reductions from outside Spectrim.

        Raises:
            SpectrimError: a key is missing or its value cannot be read.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("plan"), Mapping):
            raise SpectrimError(f"the recommended plan is {data!r}; expected keys and values.")
        measured = data.get("measured")
        try:
            plan = Plan.from_dict(data["plan"], trust_code)
        except (KeyError, TypeError, AttributeError) as error:
            raise SpectrimError(f"the recommended plan cannot be read ({error}).") from error
        return cls(plan, None if measured is None else Measured.from_dict(measured))


def generic(depth: int, trained_range: TrainedRange | None = None) -> Recommendation:
    """A recommendation for a model of `depth` blocks on which no plan was measured.

    A model that was trained to be pruned gets a plan inside its range; others merge a few patches
    in every block.
    """
    plan = None if trained_range is None else _plan_inside(trained_range, depth)
    return Recommendation(
        plan or paper_plan(GENERIC_KEEP_RATE, reduction=GENERIC_REDUCTION, depth=depth)
    )


def _plan_inside(trained_range: TrainedRange, depth: int) -> Plan | None:
    """A plan like those of the training; None if the range names code outside Spectrim.

    A model's file stores the range, and nothing that a file names may be imported from here.
    """
    score, reduction = (*trained_range.scores, None)[0], trained_range.reduction
    if score not in SCORES or reduction not in REDUCTIONS:
        return None
    rate = max(TRAINED_KEEP_RATE, trained_range.low)
    try:
        plan = paper_plan(rate, score, trained_range.blocks, reduction, depth=depth)
    except SpectrimError:  # a damaged file: blocks or names that do not go together
        return None
    return plan if missing_block(plan, depth) is None else None


def missing_block(plan: Plan, depth: int) -> int | None:
    """The first block of a plan that a model of `depth` blocks does not have, or None."""
    blocks = (int(stage.at) for stage in plan.stages if stage.at != "input")
    return next((block for block in blocks if block >= depth), None)
