"""Versions of saved plans. This module does not need torch, like the exported files that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.errors import SpectrimError

PLAN_VERSION = 2
# Version 1 had these names for the paper's scores, which include padding at the clip's minimum.
RENAMED_SCORES = {"intensity": "intensity-padded", "variation": "variation-padded"}


def upgrade(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A saved plan of any version as one of the present version.

    Raises:
        SpectrimError: this Spectrim does not know the version.
    """
    version = plan.get("version")
    if version not in (1, PLAN_VERSION):
        raise SpectrimError(
            f"a plan of version {version!r}; this Spectrim reads versions 1 to {PLAN_VERSION}."
        )
    stages = [dict(stage) for stage in plan["stages"]]
    if version == 1:
        for stage in stages:
            stage["score"] = RENAMED_SCORES.get(stage["score"], stage["score"])
    return {**plan, "version": PLAN_VERSION, "stages": stages}
