"""The recommended plan of a model, and what loading does to it."""

from __future__ import annotations

from dataclasses import replace

from ..common.errors import SpectrimError
from ..pruning.plan import Plan
from ..pruning.recommendation import Recommendation, generic, missing_block
from .config import ModelConfig


class Recommended:
    """The recommended plan of a model; `SpectrogramTransformer` inherits from it."""

    config: ModelConfig
    plan: Plan
    _recommendation: Recommendation | None = None
    # Which load options differ from those that the recommended plan was measured with: "frames".
    differs_from_measurement: str | None = None

    @property
    def recommendation(self) -> Recommendation:
        """The plan that is recommended for the model, and what it was measured on.

        In this order: a stored plan that was measured on the model; the model's own plan, if it
        prunes; a stored plan that was not measured; a generic plan.
        """
        stored = self._recommendation
        if stored is not None and stored.measured is not None:
            return stored
        if prunes(self.plan) and not self.plan.modules():
            return Recommendation(self.plan)
        return stored or generic(self.config.depth, self.config.trained_range)

    @property
    def recommended_plan(self) -> Plan:
        """The plan of `recommendation`, for `spectrim.prune(model, plan=...)`."""
        return self.recommendation.plan

    def set_recommendation(self, recommendation: Recommendation | None) -> None:
        """Store another recommendation; None: the model has none of its own.

        Raises:
            SpectrimError: the plan prunes a block that the model does not have.
        """
        if recommendation is not None:
            check_blocks(recommendation.plan, self.config.depth)
        self._recommendation = recommendation

    def drop_measurement(self, reason: str) -> None:
        """Remove the measurement of the recommended plan; the plan stays.

        Args:
            reason: what differs from the measurement, such as "frames".
        """
        stored = self._recommendation
        if stored is not None and stored.measured is not None:
            self._recommendation = replace(stored, measured=None)
            self.differs_from_measurement = reason


def prunes(plan: Plan) -> bool:
    """Whether a plan removes patches."""
    return plan.drop_padding or any(stage.keep_rate != 1.0 for stage in plan.stages)


def check_blocks(plan: Plan, depth: int) -> None:
    """Refuse a plan with a stage at a block that a model of `depth` blocks does not have."""
    if (block := missing_block(plan, depth)) is not None:
        raise SpectrimError(
            f"a stage at block {block}; the model's {depth} blocks count from 0 to {depth - 1}. "
            "Pass other blocks= (in commands --blocks)."
        )


def differing_features(config: ModelConfig, other: ModelConfig) -> list[str]:
    """The settings by which two configs compute different features; [] if there are none."""
    features = ("frames", "mean", "std", "padding")
    return [name for name in features if getattr(config, name) != getattr(other, name)]
