"""`spectrim train`: a recipe, from scratch or from a checkpoint, with pruning or without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: spectrim train recipes/fsdd-digit.yaml keep_rate=0.7 score=variation"

RecipePath = Annotated[Path, typer.Argument(help="A YAML file of those in recipes/.")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(help="key=value: values of the recipe to change, such as optim.lr=1e-4."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; by default runs/RECIPE,CHANGES. What it holds goes on."),
]
Dry = Annotated[
    bool, typer.Option("--dry-run", help="Check the data and print what would be done.")
]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON.")]


def command(
    recipe: RecipePath,
    changes: Changes = None,
    out: Out = None,
    dry_run: Dry = False,
    json: Json = False,
) -> None:
    """Train a model as a recipe says; the same command goes on where it was interrupted."""
    from .training import needed

    with needed():
        from ..training.recipe import Recipe
        from .training import carry_out

        carry_out(recipe, changes or [], Recipe, out, dry_run, json)
