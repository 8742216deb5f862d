"""How a grid's page was made: commands, recipes, machines, durations, what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from ..experiments.definition import Cell, Experiment
from ..experiments.results import ResultFolder
from ..models.provenance import machine_of
from .table1_figure import KINDS


def made(grid: Experiment, results: ResultFolder, data: str) -> str:
    """The page's section, in Markdown.

    Args:
        data: name of the JSON beside the page.
    """
    done = [(cell, found) for cell in grid.cells if (found := results.result(cell)) is not None]
    # `seconds` are those of the process that finished the cell, which others may have begun.
    seconds = sum(max(found["seconds"], found.get("trained_seconds") or 0) for _, found in done)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
    text = (
        f"{len(done)} cells took {time} in all (of each, the larger of `seconds`, of the process "
        "that finished it, and `trained_seconds`):\n"
    )
    lines = ["## How it was made\n", text]
    lines += [f"- {text}" for text in _machines(grid, results, done)]
    lines += [
        f"- this page: `spectrim grid report {grid.path} --out {results.folder}` (`spectrim grid` "
        "needs the `train` extra)\n",
        f"Each cell is `{results.folder / 'cells'}/NAME.json` and, clip by clip, `NAME.npz`: "
        "`paths`, `truth` (classes) and logits of the `last` epoch and of the `best`, the chosen "
        "one (of accuracy less the clip's largest, but in the oldest cells); off the shelf (rows, "
        "clips, classes), in the order of the JSON's rows of that checkpoint, the first unpruned. "
        "Classes are in the order of `labels` in the JSON. "
        "Names end in the repetition, counted from 0.\n",
    ]
    lines += _columns(grid, done)
    tuned = f"\nFine-tuned cells and controls: {' '.join(grid.about.tuned) or 'as the recipe'}"
    for name, column in grid.about.columns.items():
        tuned += f"; {name}: {' '.join(column.tuned)}" if column.tuned else ""
    lines.append(f"{tuned}.")
    lines += ["\nCells that are finished, of how many:\n", *_progress(grid, results)]
    missing = _missing(grid, results)
    if missing:
        text = f"Not run yet (each by its name under `missing` in [{data}]({data})):"
        lines += [f"\n{text}\n", *missing]
        lines.append(
            "\nWeights are not kept with the results: where a cell starts from a finished one "
            "whose run is not at hand, `spectrim grid list` says so (*lost*)."
        )
    changed = [cell.name for cell in grid.cells if results.difference(cell)]
    if changed:
        text = "Left out, since they were run with other settings than the grid has now"
        lines.append(f"\n{text}: {', '.join(f'`{name}`' for name in changed)}.")
    return "\n".join(lines) + "\n"


def _machines(
    grid: Experiment, results: ResultFolder, done: Sequence[tuple[Cell, dict[str, Any]]]
) -> list[str]:
    """A line for each kind of machine and options: the command, and how many cells where."""
    cells: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell, found in done:
        options = dict(text.removeprefix("run.").split("=") for text in found["run_changes"])
        words = [f"spectrim grid run {grid.path} --out {results.folder}"]
        words += [f"--{key} {value}" for key, value in options.items()]
        machine = f"{machine_of(found)}, torch {found['versions']['torch']}"
        cells[" ".join(words), machine].append(cell)
    lines = []
    for (command, machine), own in cells.items():
        runs = Counter(cell.run + 1 for cell in own)
        where = ", ".join(f"{count} of repetition {run}" for run, count in sorted(runs.items()))
        lines.append(f"`{command}`: {where}, on {machine}")
    return lines


def _columns(grid: Experiment, done: Sequence[tuple[Cell, dict[str, Any]]]) -> list[str]:
    """A table: what each column's baselines, and the encoders that some start from, were."""
    epochs = {
        (cell.kind, cell.column): found["epochs"] for cell, found in done if "epochs" in found
    }
    lines = [
        "| column | recipe | changes | epochs | starts from | repetitions |",
        "| --- " * 6 + "|",
    ]

    def line(
        name: str, recipe: str, changes: Sequence[str], count: int | None, start: str,
        runs: Sequence[Sequence[str]],
    ) -> str:  # fmt: skip
        repeated = "; ".join(" ".join(run) or "as it is" for run in runs)
        cells = [name, f"`{recipe}`", " ".join(changes), str(count or ""), start, repeated]
        return f"| {' | '.join(cells)} |"

    if grid.about.pretrain:
        count = epochs.get(("pretrain", None))
        runs = grid.about.pretrain_runs
        lines.append(line("pretrain", grid.about.pretrain, (), count, "random weights", runs))
    for name, column in grid.about.columns.items():
        start = "pretrain" if column.pretrained else "as its recipe says"
        count = epochs.get(("baseline", name))
        lines.append(line(name, column.recipe, column.changes, count, start, column.runs))
    return lines


def _progress(grid: Experiment, results: ResultFolder) -> list[str]:
    """A table: a line a kind of cell, a column a repetition."""
    runs = sorted({cell.run for cell in grid.cells})
    lines = ["| | " + " | ".join(f"repetition {run + 1}" for run in runs) + " |"]
    lines.append("| --- " * (len(runs) + 1) + "|")
    for kind in dict.fromkeys(cell.kind for cell in grid.cells):
        line = [KINDS.get(kind, kind)]
        for run in runs:
            cells = [cell for cell in grid.cells if (cell.kind, cell.run) == (kind, run)]
            done = sum(results.result(cell) is not None for cell in cells)
            line.append(f"{done} of {len(cells)}")
        lines.append("| " + " | ".join(line) + " |")
    return lines


def _missing(grid: Experiment, results: ResultFolder) -> list[str]:
    """A table of what is missing: a line a column, a column a repetition; none if all is there."""
    runs = sorted({cell.run for cell in grid.cells})
    lines = []
    for column in dict.fromkeys(cell.column for cell in grid.cells):
        line = []
        for run in runs:
            cells = [cell for cell in grid.cells if (cell.column, cell.run) == (column, run)]
            left = [cell for cell in cells if results.result(cell) is None]
            line.append("all" if left == cells and cells else _kinds(left))
        if any(line):
            lines.append(f"| {column or 'pretrain'} | " + " | ".join(line) + " |")
    head = "| | " + " | ".join(f"repetition {run + 1}" for run in runs) + " |"
    return [head, "| --- " * (len(runs) + 1) + "|", *lines] if lines else []


def _kinds(cells: Sequence[Cell]) -> str:
    """Such as "baseline, off the shelf, 12 fine-tuned"."""
    counts = Counter(cell.kind for cell in cells)
    return ", ".join(
        f"{f'{count} ' if kind == 'tuned' else ''}{KINDS.get(kind, kind)}"
        for kind, count in counts.items()
    )
