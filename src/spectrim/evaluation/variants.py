"""The rows of a sweep: one model with several plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..deploy.runner import Runner
from ..deploy.torch_runner import TorchRunner
from ..models.build import prune, shape_of
from ..models.transformer import SpectrogramTransformer
from ..pruning.defaults import DEFAULT_REDUCTION, SWEEP_KEEP_RATES, SWEEP_SCORES
from ..pruning.matching import comparable_plan, usable_scores
from ..pruning.plan import Plan
from ..pruning.saved_plans import plan_columns


@dataclass(frozen=True)
class Variant:
    """One row of a sweep: a runner, and the name its row gives the model.

    Attributes:
        matched_keep_rate: the keep rate of keep-top that the plan's MACs match; None: the plan's
            own keep rate is meant.
        is_recommended: whether the plan is the recommended one of the model.
    """

    name: str
    runner: Runner
    matched_keep_rate: float | None = None
    is_recommended: bool = False

    @property
    def score(self) -> str | None:
        """Score of all stages; see `plan_columns`."""
        score: str | None = plan_columns(self.runner.plan)["score"]
        return score

    @property
    def keep_rate(self) -> float | None:
        """Keep rate of all stages, or of keep-top at the same MACs; see `plan_columns`."""
        rate: float | None = self.matched_keep_rate
        return plan_columns(self.runner.plan)["keep_rate"] if rate is None else rate


def variants_of(
    model: SpectrogramTransformer,
    name: str,
    keep_rates: Sequence[float] = SWEEP_KEEP_RATES,
    scores: Sequence[str] = SWEEP_SCORES,
    blocks: Sequence[int | str] | str | None = None,
    seed: int = 0,
    reduction: str | Sequence[str] = DEFAULT_REDUCTION,
    compile: bool = False,
    recommended: Plan | None = None,
) -> list[Variant]:
    """The unpruned model, then every reduction with every score at every keep rate below 1.0.

    Reductions that act in other blocks than keep-top are compared at equal MACs, see
    `comparable_plan`. Those that rank by themselves have one row for each keep rate, and scores
    that a reduction cannot use are left out.

    Args:
        blocks: None: the blocks in which each reduction acts by default.
        compile: whether compiled models are timed.
        recommended: the model's recommended plan, which stands first among the pruned ones; None:
            it is not among them.
    """
    shape = shape_of(model.config)

    def runner_of(plan: Plan) -> TorchRunner:
        planned = prune(model, plan=plan).eval()
        if compile:
            planned.compile()
        return TorchRunner(planned)

    variants = [Variant(name, runner_of(Plan()))]
    if recommended is not None:
        variants.append(Variant(name, runner_of(recommended), is_recommended=True))
    reductions = [reduction] if isinstance(reduction, str) else dict.fromkeys(reduction)
    for reduction_name in reductions:
        for score in usable_scores(reduction_name, scores):
            for rate in dict.fromkeys(keep_rates):
                if rate == 1.0:
                    continue
                plan = comparable_plan(shape, rate, score, blocks, reduction_name, seed)
                is_matched = {stage.keep_rate for stage in plan.stages} != {rate}
                variants.append(Variant(name, runner_of(plan), rate if is_matched else None))
    return variants
