"""From a recipe to its job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .elastic import ElasticSupervision
from .feature_settings import Tick, no_tick
from .jobs import Job, Pretraining, Supervision
from .recipe import PretrainRecipe, Recipe
from .task import resolve_pretraining, resolve_task


def make_job(
    recipe: Recipe | PretrainRecipe,
    cache: Path,
    rank: int = 0,
    world: int = 1,
    measured: dict[str, Any] | None = None,
    tick: Tick = no_tick,
) -> Job:
    """Resolve a recipe and make its job.

    Args:
        cache: folder of decoded waveforms.
        rank, world: this process, and the number of processes.
        measured, tick: as in `resolve`.

    Raises:
        SpectrimError: as `resolve`; no such checkpoint, or one that cannot be adapted.
    """
    if isinstance(recipe, PretrainRecipe):
        return Pretraining(recipe, resolve_pretraining(recipe, measured, tick), cache, rank, world)
    supervision = ElasticSupervision if recipe.schedule.kind == "elastic" else Supervision
    return supervision(recipe, resolve_task(recipe, measured, tick), cache, rank, world)
