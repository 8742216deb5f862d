"""`spectrim data`: manifests of the public corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: spectrim data prepare fsdd free-spoken-digit-dataset --out manifests"

app = typer.Typer(
    no_args_is_help=True, help="Manifests: make them from the public corpora.", epilog=EXAMPLE
)


@app.command("prepare", epilog=EXAMPLE)
def prepare_command(
    corpus: Annotated[str, typer.Argument(help="fsdd or esc10.")],
    folder: Annotated[Path, typer.Argument(help="Where the corpus lies; it is only read.")],
    out: Annotated[Path, typer.Option(help="Where the manifests go.")],
) -> None:
    """Write CSV manifests of a corpus and print their paths."""
    from ..data.corpora import prepare

    for path in prepare(corpus, folder, out):
        typer.echo(path)
