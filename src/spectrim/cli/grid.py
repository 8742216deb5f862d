"""`spectrim grid`: a table of runs, such as the paper's Table I, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import with_bundles
from .output import Output, notify
from .tables import print_table
from .training_options import allow_trusted_code_of, needs_training_extra

if TYPE_CHECKING:
    from ..experiments.definition import Experiment
    from ..training.recipe import PretrainRecipe, Recipe

EXAMPLE = "Example: spectrim grid run grids/table1-tiny.yaml --out results/table1 --hours 2.5"
LIST = "Example: spectrim grid list grids/table1-tiny.yaml --out results/table1"
REPORT = LIST.replace(" list ", " report ")

app = typer.Typer(
    no_args_is_help=True, help="Run a table of trainings cell by cell, and report.", epilog=EXAMPLE
)

GridPath = Annotated[Path, typer.Argument(help="A grid file, such as grids/table1-tiny.yaml.")]
Out = Annotated[
    Path, typer.Option(help="Folder of the results; finished cells in it are not run again.")
]


def _read(path: Path) -> tuple[Experiment, list[Recipe | PretrainRecipe]]:
    """An experiment and its recipes; their scores may be code of the current folder."""
    from ..experiments.definition import check_recipes, read_grid
    from .shared_options import allow_trusted_code

    experiment = read_grid(path)
    allow_trusted_code(*experiment.definition.scores)
    recipes = check_recipes(experiment)
    for recipe in recipes:
        allow_trusted_code_of(recipe)
    return experiment, recipes


@app.command("list", epilog=LIST)
@with_bundles
def list_command(
    grid: GridPath,
    out: Out,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the cells in the order in which they run, and the status of each."""
    from ..common.errors import SpectrimError

    with needs_training_extra():
        from ..experiments.result_folder import ResultFolder
        from ..training.manifests import absent

        if out.exists() and not out.is_dir():
            raise SpectrimError(f"--out {out} is a file. Give the folder of the grid's results.")
        (experiment, recipes), results = _read(grid), ResultFolder(out)
        missing = dict.fromkeys(name for recipe in recipes for name in absent(recipe.data))
    if experiment.idle:
        notify("note", f"order: no cell matches {', '.join(experiment.idle)}.")
    if missing:
        notify(
            "note",
            f"missing manifests: {', '.join(missing)}. Their cells cannot be run yet; `spectrim "
            "data prepare` writes the manifests of public corpora.",
        )
    if others := results.unexpected_cells(experiment.cells):
        notify(
            "note",
            f"{out / 'cells'} also holds {len(others)} cells of another grid ({others[0]}, ...); "
            "they are ignored.",
        )
    rows = [
        {"cell": cell.name, "status": results.status(cell), "changes": list(cell.changes)}
        for cell in experiment.cells
    ]
    statuses = [str(row["status"]) for row in rows]
    lines = [[str(row["cell"]), status] for row, status in zip(rows, statuses, strict=True)]
    caption = f"{statuses.count('done')} of {len(rows)} cells are done."
    if "lost" in statuses:
        caption += (
            f"\nlost: the cell starts from a finished run whose weights are not in {out / 'runs'}."
        )
    Output(json=json).emit(
        {"rows": rows}, lambda: print_table(["cell", "status"], lines, caption, left=["status"])
    )


@app.command("run", epilog=EXAMPLE)
@with_bundles
def run_command(
    grid: GridPath,
    out: Out,
    cell: Annotated[list[str] | None, typer.Option(help="Run only this cell. Repeatable.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Start no further cell after this many hours.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Number of CPU threads.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Precision of training: auto, no, bf16 or fp16. Default: the recipe's."),
    ] = None,
) -> None:
    """Run the unfinished cells. Start it several times to share the cells between processes."""
    from rich.console import Console

    from .training_options import Bars

    with needs_training_extra():
        from ..experiments.cells import Cell
        from ..experiments.run_grid import run_grid
        from ..training.reporting import Reporter

        experiment, _ = _read(grid)
        for name in cell or []:
            experiment.cell(name)
        bars = Bars(Console(stderr=True))

        def reporter(cell: Cell) -> Reporter:
            notify("cell", cell.name)
            return bars

        options = {"threads": threads, "precision": precision}
        changes = [f"run.{key}={value}" for key, value in options.items() if value is not None]
        seconds = None if hours is None else hours * 3600
        with bars:
            ran = run_grid(experiment, out, reporter, cell, seconds, changes)
    for name, text in ran.failed.items():
        notify("error", f"{name}: {text}")
    notify(
        "done",
        f"{ran.finished} cells finished by this process. To see all: spectrim grid list {grid} "
        f"--out {out}",
    )
    if ran.failed:
        raise typer.Exit(1)


@app.command("report", epilog=REPORT)
@with_bundles
def report_command(
    grid: GridPath,
    out: Out,
    page: Annotated[
        Path | None, typer.Option(help="Markdown file to write. Default: README.md in --out.")
    ] = None,
) -> None:
    """Write a page: tables, a figure, the paper's results beside ours, findings."""
    with needs_training_extra():
        from ..experiments.definition import read_grid
        from ..paper.table1_page import report

        for path in report(read_grid(grid), out, page or out / "README.md"):
            typer.echo(path)
