"""`spectrim pretrain`: a masked auto-encoder on unlabelled audio."""

from __future__ import annotations

from .training_options import Run, needs_training_extra

EXAMPLE = "Example: spectrim pretrain recipes/pretrain-small.yaml epochs=100"


def command(run: Run) -> None:
    """Pre-train an AudioMAE on audio without labels.

    To fine-tune it, run `spectrim train RECIPE init=RUN/last`.
    """
    with needs_training_extra():
        from ..training.recipe import PretrainRecipe

        run.carry_out(PretrainRecipe)
