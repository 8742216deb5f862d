"""Options that choose the plan of a model: given on the command line, saved, or recommended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from ..common.errors import SpectrimError
from ..pruning.defaults import DEFAULT_REDUCTION, DEFAULT_SCORE
from .output import notify
from .shared_options import (
    BLOCKS_DEFAULT,
    BLOCKS_HELP,
    REDUCTION_HELP,
    SCORE_HELP,
    allow_trusted_code,
    blocks_of,
    comma_separated,
    pruning_option,
)

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer
    from ..pruning.plan import Plan
    from ..pruning.recommendation import Recommendation


@dataclass(frozen=True)
class Pruning:
    """How patches are ranked and removed; the command adds the keep rates."""

    score: Annotated[str | None, pruning_option(help=f"{SCORE_HELP} Default: {DEFAULT_SCORE}.")] = (
        None
    )
    block_list: Annotated[
        str | None, pruning_option("--blocks", help=f"{BLOCKS_HELP} {BLOCKS_DEFAULT}")
    ] = None
    reduction_name: Annotated[
        str | None,
        pruning_option("--reduction", help=f"{REDUCTION_HELP} Default: {DEFAULT_REDUCTION}."),
    ] = None

    @property
    def reduction(self) -> str:
        """How patches are removed."""
        return self.reduction_name or DEFAULT_REDUCTION

    def is_given(self, keep_rates: str | None) -> bool:
        """Whether any pruning option is given; without one, the recommended plan is used too."""
        given = (keep_rates, self.score, self.block_list, self.reduction_name)
        return any(value is not None for value in given)

    @property
    def blocks(self) -> list[int | str] | str | None:
        """The blocks that prune; None: those of the reduction."""
        return blocks_of(self.block_list)

    def check(self) -> None:
        """Refuse wrong blocks, and let the user's own code be imported."""
        blocks_of(self.block_list)
        allow_trusted_code(self.score or "", self.reduction)


@dataclass(frozen=True)
class NewPlan:
    """A plan that replaces the one saved with the model."""

    keep_rate: Annotated[
        float | None,
        pruning_option(
            help="Fraction of patches that each of --blocks keeps, above 0 and at most 1; 1 "
            "disables pruning. Default: the plan saved with the model, else its recommended plan "
            "if it was measured on the model, else no pruning."
        ),
    ] = None
    score: Annotated[
        str | None,
        pruning_option(
            help=f"Score that ranks the patches. Requires --keep-rate. Default: {DEFAULT_SCORE}."
        ),
    ] = None
    blocks: Annotated[
        str | None,
        pruning_option(help=f"{BLOCKS_HELP} Requires --keep-rate. {BLOCKS_DEFAULT}"),
    ] = None
    reduction: Annotated[
        str | None,
        pruning_option(
            help=f"{REDUCTION_HELP} Requires --keep-rate. Default: {DEFAULT_REDUCTION}."
        ),
    ] = None

    drop_padding: Annotated[
        bool,
        pruning_option(
            "--drop-padding",
            help="Also remove the patches without sound from clips shorter than the window. Not "
            "supported by `export` and --compile.",
        ),
    ] = False

    def options(self) -> dict[str, Any]:
        """Values by the names of their options."""
        return {
            "--drop-padding": self.drop_padding or None,
            "--keep-rate": self.keep_rate,
            "--score": self.score,
            "--blocks": self.blocks,
            "--reduction": self.reduction,
        }

    def apply(self, model: SpectrogramTransformer) -> SpectrogramTransformer:
        """The model with this plan; without --keep-rate, with its saved or recommended plan."""
        from ..models.build import prune

        if self.keep_rate is None:
            for option, value in self.options().items():
                if value is not None and value is not True:
                    raise SpectrimError(
                        f"{option} {value} requires --keep-rate; without it the saved or "
                        "recommended plan of the model is used."
                    )
            pruned = _with_default_plan(model)
            if not self.drop_padding:
                return pruned
            return pruned.with_plan(replace(pruned.plan, drop_padding=True))
        reduction = self.reduction or DEFAULT_REDUCTION
        allow_trusted_code(self.score or "", reduction)
        blocks = blocks_of(self.blocks)
        return prune(
            model,
            self.keep_rate,
            self.score,
            blocks,
            reduction=reduction,
            drop_padding=self.drop_padding,
        )


def _with_default_plan(model: SpectrogramTransformer) -> SpectrogramTransformer:
    """The model with its saved plan, else with a recommended plan that was measured on it.

    A plan that was not measured on the model might change its labels, so it is not used unasked.
    """
    from ..models.build import prune

    recommendation = model.recommendation
    if model.plan.stages or model.plan.drop_padding:
        return model
    if recommendation.measured is None:
        if differs := model.differs_from_measurement:
            notify(
                "note",
                f"not pruned: the recommended plan ({recommendation.plan}) was measured without "
                f"the given options ({differs}), so its accuracy is unknown here. Pass --keep-rate "
                "to prune.",
            )
        return model
    notify(
        "note",
        f"pruned with the model's recommended plan: {recommendation}. Pass --keep-rate 1 for the "
        "unpruned model.",
    )
    return prune(model, plan=recommendation.plan)


def recommended_plan(name: str, recommendation: Recommendation) -> Plan:
    """The recommended plan of a model; a note says what it was measured on."""
    notify("note", f"{name}: the recommended plan is {recommendation}.")
    return recommendation.plan


def note_unused_plan(name: str, model: SpectrogramTransformer, used: Plan | None = None) -> None:
    """Print a note if a model has a saved plan that prunes, and that is not the one used."""
    from ..models.has_recommendation import prunes

    if prunes(model.plan) and model.plan != used:
        notify("note", f"{name}: the saved plan ({model.plan}) is not used.")


def options_of(plan: Plan, depth: int) -> list[str] | None:
    """The options of `export` and `tag` that give a plan; None if they cannot express it."""
    from ..pruning.plan import paper_plan

    first = plan.stages[0]
    rate, score, reduction = first.keep_rate, first.score, first.reduction
    is_named = isinstance(reduction, str) and (score is None or isinstance(score, str))
    if rate is None or not is_named:
        return None
    blocks = [stage.at for stage in plan.stages]
    for given in (None, blocks):
        if paper_plan(rate, score, given, reduction, depth=depth) == plan:
            options = ["--keep-rate", f"{rate:g}", "--reduction", str(reduction)]
            options += [] if score is None else ["--score", str(score)]
            return options + ([] if given is None else ["--blocks", comma_separated(given)])
    return None
