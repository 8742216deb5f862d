"""Plans as plain data: versions of saved plans, and how rows of results name them.

This module does not need torch, like the exported files that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.errors import SpectrimError
from .defaults import DEFAULT_REDUCTION

PLAN_VERSION = 2
# Version 1 had these names for the paper's scores, which include padding at the clip's minimum.
RENAMED_SCORES = {"intensity": "intensity-padded", "variation": "variation-padded"}


def upgrade(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A saved plan of any version as one of the present version.

    Raises:
        SpectrimError: this Spectrim does not know the version, or the plan has another structure.
    """
    version = plan.get("version")
    if version not in (1, PLAN_VERSION):
        raise SpectrimError(
            f"a plan of version {version!r}; this Spectrim reads versions 1 to {PLAN_VERSION}."
        )
    stages = _stages(plan)
    if version == 1:
        for stage in stages:
            stage["score"] = RENAMED_SCORES.get(stage["score"], stage["score"])
    return {**plan, "version": PLAN_VERSION, "stages": stages}


def plan_columns(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Score, reduction and keep rate of a plan's record if all its stages share them.

    Returns:
        score: None if unpruned, or for a reduction that ranks by itself; "several" if stages
            differ.
        reduction: None if unpruned; "several" if stages differ.
        keep_rate: 1.0 if unpruned; None if stages differ.
    """
    stages = plan["stages"]
    if not stages:
        return {"score": None, "reduction": None, "keep_rate": 1.0}
    scores, reductions, rates = (
        {stage.get(key) for stage in stages} for key in ("score", "reduction", "keep_rate")
    )
    return {
        "score": scores.pop() if len(scores) == 1 else "several",
        "reduction": reductions.pop() if len(reductions) == 1 else "several",
        "keep_rate": rates.pop() if len(rates) == 1 else None,
    }


def method_of(row: Mapping[str, Any]) -> str:
    """What a row's plan does, as one label: the score of keep-top, else the reduction too."""
    score, reduction = row["score"], row.get("reduction")
    if score is None:
        return reduction or "unpruned"
    return score if reduction in (DEFAULT_REDUCTION, None) else f"{reduction}, {score}"


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
