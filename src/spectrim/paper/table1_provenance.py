"""How the cells of a grid were run: commands, machines, durations, recipes, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..common.markdown import table
from ..experiments.cells import Cell
from ..experiments.definition import Experiment
from ..experiments.result_folder import ResultFolder
from ..models.provenance import machine_of
from .table1_findings import EVIDENCE


def provenance(grid: Experiment, results: ResultFolder) -> dict[str, Any]:
    """Plain data: each finished cell's command and machine, the columns, and cells left out."""
    cells = []
    for cell in grid.cells:
        result = results.result(cell)
        if result is None:
            continue
        options = dict(change.removeprefix("run.").split("=") for change in result["run_changes"])
        words = [f"spectrim grid run {grid.path} --out {results.folder}"]
        words += [f"--{key} {value}" for key, value in options.items()]
        cells.append(
            {
                "cell": cell.name,
                "command": " ".join(words),
                "machine": f"{machine_of(result)}, torch {result['versions']['torch']}",
                # `seconds` are of the process that finished the cell; others may have begun it.
                "seconds": max(result["seconds"], result.get("trained_seconds") or 0),
                "epochs": result.get("epochs"),
            }
        )
    return {
        "cells": cells,
        "columns": {
            name: {"recipe": column.recipe, "changes": column.changes, "tuned": column.tuned,
                   "elastic": column.elastic,
                   "starts_from": "pretrain" if column.pretrained else "as its recipe says",
                   "repetitions": column.runs}
            for name, column in grid.definition.columns.items()
        },
        "tuned": grid.definition.tuned,
        "elastic": grid.definition.elastic if "elastic" in grid.definition.all_evidence() else [],
        "ablations": grid.definition.ablations,
        "pretrain": {"recipe": grid.definition.pretrain,
                     "repetitions": grid.definition.pretrain_runs},
        "left_out": [cell.name for cell in grid.cells if results.difference(cell)],
    }  # fmt: skip


def provenance_text(
    grid: Experiment, results: ResultFolder, runs: dict[str, Any], data: str
) -> str:
    """The page's section, in Markdown.

    Args:
        runs: what `provenance` returns.
        data: name of the JSON beside the page.
    """
    seconds = sum(run["seconds"] for run in runs["cells"])
    time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
    lines = ["## How it was made\n", f"{len(runs['cells'])} cells took {time} in all:\n"]
    counts = Counter((run["command"], run["machine"]) for run in runs["cells"])
    lines += [f"- `{command}`: {count}, on {where}" for (command, where), count in counts.items()]
    lines += [
        f"- this page: `spectrim grid report {grid.path} --out {results.folder}`\n",
        f"Each cell has `{results.folder / 'cells'}/NAME.json` (settings and results) and "
        "`NAME.npz` (outputs for each test clip, after the last epoch and, for trained cells, the "
        "chosen epoch). The outputs are the top class, its probability and the rank of the label. "
        "For mAP, and in cells of earlier versions, they are all logits in float16. "
        f"[{data}]({data}) has the command, machine, duration and epochs of each cell, the "
        "recipes of the columns, and the names of missing cells.\n",
        "Finished cells by repetition:\n",
        _progress(grid, results),
    ]
    if missing := _missing(grid, results):
        lines += ["\nNot run yet:\n", missing]
    if runs["left_out"]:
        names = ", ".join(f"`{name}`" for name in runs["left_out"])
        lines.append(f"\nLeft out, because they were run with other settings: {names}.")
    return "\n".join(lines) + "\n"


def _repetitions(grid: Experiment) -> list[int]:
    return sorted({cell.run for cell in grid.cells})


def _header(grid: Experiment) -> list[str]:
    return ["", *(f"repetition {run + 1}" for run in _repetitions(grid))]


def _progress(grid: Experiment, results: ResultFolder) -> str:
    """A table: a row per condition, a column per repetition."""
    rows = []
    for name in dict.fromkeys(cell.row for cell in grid.cells):
        row = [EVIDENCE.get(name, name)]
        for run in _repetitions(grid):
            cells = [cell for cell in grid.cells if (cell.row, cell.run) == (name, run)]
            done = sum(results.result(cell) is not None for cell in cells)
            row.append(f"{done} of {len(cells)}")
        rows.append(row)
    return table(rows, _header(grid))


def _missing(grid: Experiment, results: ResultFolder) -> str:
    """A table: a row per column of the grid, a column per repetition; "" if all is there."""
    rows = []
    for column in dict.fromkeys(cell.column for cell in grid.cells):
        row = []
        for run in _repetitions(grid):
            cells = [cell for cell in grid.cells if (cell.column, cell.run) == (column, run)]
            missing = [cell for cell in cells if results.result(cell) is None]
            row.append("all" if missing == cells and cells else _conditions_of(missing))
        if any(row):
            rows.append([column or "pretrain", *row])
    return table(rows, _header(grid)) if rows else ""


def _conditions_of(cells: Sequence[Cell]) -> str:
    """Such as "baseline, without fine-tuning, 12 fine-tuned"."""
    counts = Counter(cell.row for cell in cells)
    return ", ".join(
        f"{f'{count} ' if name == 'tuned' else ''}{EVIDENCE.get(name, name)}"
        for name, count in counts.items()
    )
