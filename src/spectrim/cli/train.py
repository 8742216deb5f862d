"""`spectrim train`: run a recipe, from scratch or from a checkpoint, with or without pruning."""

from __future__ import annotations

from .training_options import Run, needs_training_extra

EXAMPLE = "Example: spectrim train recipes/fsdd-digit.yaml keep_rate=0.7 score=variation"


def command(run: Run) -> None:
    """Train a model from a recipe. The same command continues an interrupted run."""
    with needs_training_extra():
        from ..training.recipe import Recipe

        run.carry_out(Recipe)
