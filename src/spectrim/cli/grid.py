"""`spectrim grid`: a table of runs, such as the paper's Table I, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..experiments.definition import Experiment
    from ..training.recipe import PretrainRecipe, Recipe

EXAMPLE = "Example: spectrim grid run grids/miniature.yaml --out results/miniature --hours 2.5"
LIST = "Example: spectrim grid list grids/miniature.yaml --out results/miniature"
REPORT = LIST.replace(" list ", " report ")

app = typer.Typer(
    no_args_is_help=True, help="Tables of runs: run them cell by cell, report.", epilog=EXAMPLE
)

GridPath = Annotated[Path, typer.Argument(help="A grid file, such as grids/miniature.yaml.")]
Out = Annotated[Path, typer.Option(help="Folder of the grid's results; what it holds goes on.")]


def _read(path: Path) -> tuple[Experiment, list[Recipe | PretrainRecipe]]:
    """A grid and its recipes, whose scores may be own code of the folder where one stands."""
    from ..experiments.definition import check_recipes, read_grid
    from .options import allow_trusted_code
    from .training import allow_trusted_code_of

    found = read_grid(path)
    allow_trusted_code(*found.about.scores)
    recipes = check_recipes(found)
    for recipe in recipes:
        allow_trusted_code_of(recipe)
    return found, recipes


@app.command("list", epilog=LIST)
def list_command(
    grid: GridPath,
    out: Out,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """List the cells in their order, and how far each is."""
    from ..common.errors import SpectrimError
    from .output import complain, print_json, print_table
    from .training import needed

    with needed():
        from ..experiments.results import ResultFolder
        from ..training.manifests import absent

        if out.exists() and not out.is_dir():
            raise SpectrimError(f"--out {out} is a file; wanted the folder of a grid's results.")
        (found, recipes), results = _read(grid), ResultFolder(out)
        lacking = [name for recipe in recipes for name in absent(recipe.data)]
    if found.idle:
        complain("note", f"order: no cell fits {', '.join(found.idle)}.")
    if lacking:
        complain(
            "note", f"not there: {', '.join(dict.fromkeys(lacking))}; their cells cannot be run "
            "yet (`spectrim data prepare` writes the manifests of known corpora).",
        )  # fmt: skip
    if others := results.strangers(found.cells):
        complain(
            "note", f"{out / 'cells'} also holds {len(others)} cells that are not of this grid "
            f"({others[0]}, ...); they are let be.",
        )  # fmt: skip
    rows = [
        {"cell": cell.name, "status": results.status(cell), "changes": list(cell.changes)}
        for cell in found.cells
    ]
    if json:
        print_json({"rows": rows})
        return
    done = sum(row["status"] == "done" for row in rows)
    print_table(
        ["cell", "status"],
        [[str(row["cell"]), str(row["status"])] for row in rows],
        caption=f"{done} of {len(rows)} are done.",
        left=["status"],
    )
    if any(row["status"] == "lost" for row in rows):
        complain(
            "note", "lost: what such a cell starts from is finished, and its weights are not in "
            f"{out / 'runs'}: they are not kept with the results.",
        )  # fmt: skip


@app.command("run", epilog=EXAMPLE)
def run_command(
    grid: GridPath,
    out: Out,
    cell: Annotated[list[str] | None, typer.Option(help="Only this cell; may be repeated.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Begin no cell after so many hours.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of training: auto, no, bf16 or fp16; see docs/training.md.")
    ] = None,
) -> None:
    """Run what is not finished; start it several times to share the cells among processes."""
    from rich.console import Console

    from .output import complain
    from .training import Bars, needed

    with needed():
        from ..experiments.definition import Cell
        from ..experiments.run import run_grid
        from ..training.reporting import Reporter

        found, _ = _read(grid)
        for name in cell or []:
            found.cell(name)
        bars = Bars(Console(stderr=True))

        def reporter(cell: Cell) -> Reporter:
            complain("cell", cell.name)
            return bars

        options = {"threads": threads, "precision": precision}
        changes = [f"run.{key}={value}" for key, value in options.items() if value is not None]
        seconds = None if hours is None else hours * 3600
        with bars:
            ran = run_grid(found, out, reporter, cell, seconds, changes)
    for name, text in ran.failed.items():
        complain("error", f"{name}: {text}")
    complain("done", f"{ran.finished} cells finished here; spectrim grid list {grid} --out {out}")
    if ran.failed:
        raise typer.Exit(1)


@app.command("report", epilog=REPORT)
def report_command(
    grid: GridPath,
    out: Out,
    page: Annotated[
        Path | None, typer.Option(help="The page; by default docs/NAME.md of the grid file.")
    ] = None,
) -> None:
    """Write the page: tables, figure, the paper's numbers beside, findings."""
    from .training import needed

    with needed():
        from ..experiments.definition import read_grid
        from ..paper.table1_page import report

        for path in report(read_grid(grid), out, page or Path("docs") / f"{grid.stem}.md"):
            typer.echo(path)
