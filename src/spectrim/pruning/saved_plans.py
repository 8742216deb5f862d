"""Plans as plain data: versions of saved plans, and how rows of results name them.

This module does not need torch, like the exported files that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..common.errors import SpectrimError
from ..common.values import from_mapping, number, required_choice
from .defaults import DEFAULT_REDUCTION

PLAN_VERSION = 2
DROP_PADDING_VERSION = 3
"""Of plans with `drop_padding`, so that a Spectrim that would ignore it refuses them."""
DROP_PADDING = "drop-padding"
"""The reduction of a plan without stages that drops padding, in rows of results."""
# Version 1 had these names for the paper's scores, which include padding at the clip's minimum.
RENAMED_SCORES = {"intensity": "intensity-padded", "variation": "variation-padded"}


@dataclass(frozen=True)
class Measured:
    """What a model with a plan gave on labelled or unlabelled clips.

    Attributes:
        data: the clips, in words. clips: how many.
        metric: "accuracy", "mAP" or "agreement" (with the unpruned model).
        unpruned, pruned: the metric of both models, from 0 to 1.
        agreement: fraction of clips whose top class is that of the unpruned model.
        mac_ratio: MACs of the unpruned model over those of the pruned one.
    """

    data: str
    clips: int = number(least=1)
    metric: str = required_choice("accuracy", "mAP", "agreement")
    unpruned: float = number(least=0, most=1)
    pruned: float = number(least=0, most=1)
    agreement: float = number(least=0, most=1)
    mac_ratio: float = number(above=0)

    def __str__(self) -> str:
        values = f"{self.metric} {self.pruned:.1%} (unpruned {self.unpruned:.1%})"
        if self.metric == "mAP":
            values = f"mAP {self.pruned:.4f} (unpruned {self.unpruned:.4f})"
        return f"{values} at {1 / self.mac_ratio:.0%} of the MACs on {self.data}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Measured:
        """Read what `to_dict` wrote; unknown keys are ignored.

        Raises:
            SpectrimError: a key is missing, or its value is out of range.
        """
        where = "what the recommended plan was measured on"
        try:
            return from_mapping(cls, data, where)
        except TypeError as error:
            raise SpectrimError(f"{where} is {data!r} and cannot be read ({error}).") from error


def upgrade(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A saved plan of any version as one of the present version.

    Raises:
        SpectrimError: this Spectrim does not know the version, or the plan has another structure.
    """
    version = plan.get("version")
    if version not in (1, PLAN_VERSION, DROP_PADDING_VERSION):
        raise SpectrimError(
            f"a plan of version {version!r}; this Spectrim reads versions 1 to "
            f"{DROP_PADDING_VERSION}."
        )
    stages = _stages(plan)
    if version == 1:
        for stage in stages:
            stage["score"] = RENAMED_SCORES.get(stage["score"], stage["score"])
    return {**plan, "version": max(version, PLAN_VERSION), "stages": stages}


def plan_columns(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Score, reduction and keep rate of a plan's record if all its stages share them.

    Returns:
        score: None if unpruned, or for a reduction that ranks by itself; "several" if stages
            differ.
        reduction: None if unpruned; `DROP_PADDING` if the plan does nothing else; "several" if
            stages differ.
        keep_rate: 1.0 if unpruned; None if stages differ.
    """
    stages = plan["stages"]
    if not stages:
        reduction = DROP_PADDING if plan.get("drop_padding") else None
        return {"score": None, "reduction": reduction, "keep_rate": 1.0}
    scores, reductions, rates = (
        {stage.get(key) for stage in stages} for key in ("score", "reduction", "keep_rate")
    )
    return {
        "score": scores.pop() if len(scores) == 1 else "several",
        "reduction": reductions.pop() if len(reductions) == 1 else "several",
        "keep_rate": rates.pop() if len(rates) == 1 else None,
    }


def mean_gmacs(row: Mapping[str, Any]) -> float:
    """GMACs of one clip; the mean of the clips where they keep different numbers of patches."""
    return float(row.get("mean_gmacs", row["gmacs"]))


def method_of(row: Mapping[str, Any]) -> str:
    """What a row's plan does, as one label: the score of keep-top, else the reduction too.

    The row of a model's recommended plan says so: "tome (recommended)".
    """
    score, reduction = row["score"], row.get("reduction")
    if score is None:
        method = reduction or "unpruned"
    else:
        method = score if reduction in (DEFAULT_REDUCTION, None) else f"{reduction}, {score}"
    return f"{method} (recommended)" if row.get("recommended") else method


def plan_label(plan: Mapping[str, Any]) -> str:
    """A saved plan in a few words, such as "tome 0.9" or "attention 0.7"."""
    columns = plan_columns(plan)
    if is_unpruned(columns):
        return "unpruned"
    rate = columns["keep_rate"]
    return f"{method_of(columns)} {'several' if rate is None else f'{rate:g}'}"


def is_unpruned(row: Mapping[str, Any]) -> bool:
    """Whether a row's plan has no stages."""
    return row["score"] is None and row.get("reduction") is None


def _stages(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages of a plan, each with texts for its score and reduction."""
    stages = plan.get("stages")
    if not isinstance(stages, list):
        raise SpectrimError(f"the plan's stages are {stages!r}; expected a list.")
    for stage in stages:
        if not isinstance(stage, Mapping):
            raise SpectrimError(f"a stage of the plan is {stage!r}; expected keys and values.")
        for key in ("score", "reduction"):
            ranks_itself = key == "score" and key in stage and stage[key] is None
            if not ranks_itself and not isinstance(stage.get(key), str):
                raise SpectrimError(
                    f"{key} of a stage of the plan is {stage.get(key)!r}; expected a text."
                )
            options = f"{key}_options"
            if not isinstance(stage.get(options, {}), Mapping):
                raise SpectrimError(
                    f"{options} of a stage of the plan is {stage[options]!r}; expected keys and "
                    "values."
                )
    return [dict(stage) for stage in stages]
