"""`spectrim pretrain`: a masked auto-encoder on unlabelled audio."""

from __future__ import annotations

from .train import Changes, Dry, Json, Out, RecipePath

EXAMPLE = "Example: spectrim pretrain recipes/pretrain-small.yaml epochs=100"


def command(
    recipe: RecipePath,
    changes: Changes = None,
    out: Out = None,
    dry_run: Dry = False,
    json: Json = False,
) -> None:
    """Pre-train an AudioMAE on audio without labels; `train init=RUN/last` starts there."""
    from .training import needed

    with needed():
        from ..training.recipe import PretrainRecipe
        from .training import carry_out

        carry_out(recipe, changes or [], PretrainRecipe, out, dry_run, json)
