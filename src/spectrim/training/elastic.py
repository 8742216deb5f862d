"""Elastic training: one model that may be pruned at any keep rate of a range.

In each step the sandwich rule of universally slimmable networks (Yu and Huang, ICCV 2019, arXiv
1903.05134) trains the unpruned model, the one with the lowest keep rate, and some in between. The
pruned ones imitate the unpruned one (in-place distillation). Their keep rates are drawn for each
stage, as LengthDrop draws the length of each layer (Kim and Cho, ACL 2021, arXiv 2010.07003).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from ..common.errors import SpectrimError
from ..data.loader import TrainBatch
from ..models.build import shape_of
from ..pruning.components import part_name
from ..pruning.cost import macs
from ..pruning.plan import Plan
from ..pruning.trained_range import TrainedRange
from .evaluate import Evaluation
from .jobs import Supervision
from .objectives import Elastic
from .recipe import Recipe, SchedulePart
from .task import SupervisedTask

PLANS = 2  # stream of random numbers, next to those of data.loader
COST_DRAWS = 200  # steps that the cost of a step is averaged over
LOW = "_low"  # ends the name of a split evaluated at the lowest keep rate


class ElasticSupervision(Supervision):
    """Training for every keep rate from 1.0 to the lowest; the saved plan prunes nothing.

    Attributes:
        plans: by score, the plan whose keep rates are drawn.
    """

    objective: Elastic

    def __init__(
        self, recipe: Recipe, task: SupervisedTask, cache: Path, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(recipe, task, cache, rank, world)
        schedule = recipe.schedule
        self.plans = plans_by_score(self.model.plan, schedule.scores or [recipe.score])
        steps = self.loader.steps
        reached = self.keep_rate((steps * recipe.epochs - 1) / steps)  # in the last step
        if reached == 1.0:
            raise SpectrimError(
                f"elastic training would prune nothing: schedule.start is {schedule.start:g}, and "
                f"the run has {recipe.epochs} epochs. Lower schedule.start and schedule.length."
            )
        self.model.config = replace(
            self.model.config,
            trained_range=TrainedRange(
                reached, tuple(recipe.blocks), self._score_names(), recipe.reduction
            ),
        )
        self.notes.append(self._cost())

    def _score_names(self) -> tuple[str, ...]:
        scores = [stage.score for plan in self.plans.values() for stage in plan.stages]
        return tuple(dict.fromkeys(part_name(score) for score in scores if score is not None))

    def _objective(self, recipe: Recipe) -> Elastic:
        schedule = recipe.schedule
        return Elastic(
            self.model, self.task.loss, recipe.loss.smoothing,
            recipe.teacher.weight if self.teacher else 0.0, recipe.teacher.temperature,
            distil=schedule.distil, label_weight=schedule.label_weight,
            align=schedule.align,
        )  # fmt: skip

    def drawn(self, now: float) -> tuple[Plan, ...]:
        """The plans of the pruned passes of a step; `now` is the epoch with its fraction."""
        step = round(now * self.loader.steps)
        return draw_plans(self.plans, self.schedule, self.keep_rate(now), self.seed, step)

    def _cost(self) -> str:
        """A sentence about the cost of a step in multiply-accumulates."""
        shape, low = shape_of(self.model.config), self.final_keep_rate
        draws = [
            draw_plans(self.plans, self.schedule, low, self.seed, step)
            for step in range(COST_DRAWS)
        ]
        unpruned = macs(shape, Plan())
        means = [
            float(np.mean([macs(shape, plan) for plan in plans])) / unpruned
            for plans in zip(*draws, strict=True)
        ]
        terms = ["1 unpruned", f"{means[0]:.2f} at keep rate {low:g}"]
        if random := means[1:]:
            plural = "s" if len(random) > 1 else ""
            terms.append(f"{sum(random):.2f} for {len(random)} random plan{plural}")
        return (
            f"a step costs {1 + sum(means):.1f} times the MACs of an unpruned step: "
            f"{', '.join(terms)}."
        )

    def gmacs(self, now: float) -> float:
        """Of all passes of a step, see `Job`."""
        shape = shape_of(self.model.config)
        return sum(macs(shape, plan) for plan in (Plan(), *self.drawn(now))) / 1e9

    def inputs(self, batch: TrainBatch, now: float) -> dict[str, Any]:
        """See `Job`."""
        inputs = super().inputs(batch, now)
        inputs["keep_rate"] = 1.0
        return inputs | {"plans": self.drawn(now)}

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """Results of the unpruned model ("test") and at the lowest keep rate ("test_low")."""
        results = super().evaluate(accelerator, tick)
        unpruned, low = self.model, self.model.plan.with_keep_rate(self.final_keep_rate)
        try:
            self.model = unpruned.with_plan(low)
            pruned = super().evaluate(accelerator, tick)
        finally:
            self.model = unpruned
        # Unreadable clips are reported once, with the unpruned model.
        return results | {name + LOW: replace(e, left_out=0) for name, e in pruned.items()}

    def value(self, row: Mapping[str, Any], split: str) -> float:
        """The mean of unpruned and lowest keep rate, see `Job`."""
        return (super().value(row, split) + super().value(row, split + LOW)) / 2

    def save_predictions(self, folder: Path, evaluations: Mapping[str, Evaluation]) -> None:
        """Write the logits of the unpruned model, see `Job`."""
        unpruned = {name: e for name, e in evaluations.items() if not name.endswith(LOW)}
        super().save_predictions(folder, unpruned)


def plans_by_score(plan: Plan, scores: list[str]) -> dict[str, Plan]:
    """The same plan ranked by each of several scores.

    Raises:
        SpectrimError: no such score; or a score or reduction with parameters, of which every plan
            would have its own.
    """
    plans = {}
    for score in dict.fromkeys(scores):
        # A reduction that needs no score is the same for all of them.
        if all(stage.score is None or part_name(stage.score) == score for stage in plan.stages):
            plans[score] = plan
            continue
        plans[score] = replace(
            plan, stages=tuple(replace(stage, score=score) for stage in plan.stages)
        )
        if plans[score].modules():
            raise SpectrimError(
                f"schedule.scores: with {score!r} the plan has parameters of its own, which would "
                "not be saved. Elastic training takes learned scores and reductions only without "
                "schedule.scores."
            )
    return plans


def draw_plans(
    plans: Mapping[str, Plan], schedule: SchedulePart, low: float, seed: int, step: int
) -> tuple[Plan, ...]:
    """The plans of a step: the lowest keep rate in all stages, then random ones for each stage.

    The draws depend on seed and step only, so every process and every part of a batch has the
    same plans, and a resumed run continues with the plans of an uninterrupted one.

    Args:
        plans: by score; the score of a pass is drawn from them.
        low: lowest keep rate at this step; 1.0: nothing is pruned yet.
    """
    if low == 1.0:
        return ()
    rng, names = np.random.default_rng((seed, step, PLANS)), list(plans)
    high = max(low, schedule.high)
    drawn = []
    for number in range(1 + schedule.plans):
        plan = plans[names[int(rng.integers(len(names)))]]
        rates = rng.uniform(low, high, len(plan.stages)).tolist()
        drawn.append(plan.with_keep_rate(rates if number else low))
    return tuple(drawn)
