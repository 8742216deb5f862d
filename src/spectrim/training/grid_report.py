"""The page of a grid: table, figure, the paper's numbers beside, findings, how it was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..common.files import save, save_json, save_text
from .grid import Cell, Grid
from .grid_findings import details, findings, summary
from .grid_numbers import Entry, Numbers
from .grid_run import GridFolder

KINDS = {"shelf": "off the shelf", "tuned": "fine-tuned"}


def report(grid: Grid, folder: Path, page: Path) -> list[Path]:
    """Write `page` (Markdown), beside it a figure and a JSON of all figures.

    Returns the paths written.
    """
    results = GridFolder(folder)
    numbers = Numbers(grid, results)
    found = numbers.entries
    figure = page.with_suffix(".png")
    data = page.with_suffix(".json")
    drawn = draw(grid, found, figure)
    cases = findings(grid, numbers)
    said = [vars(case) | {"verdict": case.verdict} for case in cases]
    left = [cell.name for cell in grid.cells if results.result(cell) is None]
    rows = [vars(entry) for entry in found]
    save_json(data, {"rows": rows, "findings": said, "missing": left})
    parts = [f"# {grid.path.stem.replace('-', ' ').capitalize()}\n", _head(grid, results, page)]
    if drawn:
        parts += [f"![Metric against GMACs]({figure.name})\n"]
    paper = any(column.paper for column in grid.about.columns.values())
    if paper:
        text = (
            "How many cases say what, and the mean of all of them, in points; each with its "
            "figures [below](#case-by-case). Even where there is no difference, about one case in "
            "twenty strays over two errors. A mean's error is the mean of its cases' errors, an "
            "upper bound whatever clips they share; where cases contradict each other, it stands "
            "for none of them.\n"
        )
        parts += ["## The paper's findings\n", text, *summary(cases), ""]
    for name in grid.about.columns:
        own = [entry for entry in found if entry.column == name]
        if own:
            parts.append(_table(grid, name, own))
    if paper and cases:
        text = (
            "Above zero where the finding shows, ± one standard error over the same clips; between "
            "two errors either way nothing can be told.\n"
        )
        parts += ["## Case by case\n", text, *details(cases)]
    parts.append(_made(grid, results, data.name))
    save_text(page, "\n".join(parts))
    return [page, *([figure] if drawn else []), data]


def paper_numbers(column: str) -> dict[tuple[str | None, float], float]:
    """Table I's percentages of a column such as "AST, SPC-2", by score and keep-rate."""
    if not column:
        return {}
    model, dataset = (part.strip() for part in column.split(","))
    file = resources.files("spectrim.assets") / "paper" / "table1_accuracy.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return {
        (row["score"], row["keep_rate"]): row["result"]
        for row in rows
        if (row["model"], row["dataset"]) == (model, dataset)
    }


def _head(grid: Grid, results: GridFolder, page: Path) -> str:
    done = sum(results.result(cell) is not None for cell in grid.cells)
    return (
        f"{done} of {len(grid.cells)} cells of `{grid.path}` are finished; what is missing is "
        "left blank. Values are percent on test clips after the last epoch, ± a standard error; "
        "Δ is the difference, in points, from the baseline (off the shelf) or from a control that "
        "was trained as long without pruning (fine-tuned), on the same clips. A difference under "
        "two standard errors is no trend. Errors are over test clips: what another seed of the "
        "training would change is in them only where several repetitions are pooled, and then in "
        "part. Values, in the figure too, may stand on different "
        "numbers of repetitions, which a table then says; a Δ is always taken within repetitions.\n"
    )


def _table(grid: Grid, name: str, found: Sequence[Entry]) -> str:
    column, paper = grid.about.columns[name], paper_numbers(grid.about.columns[name].paper)
    by = {(e.kind, e.score, e.keep_rate): e for e in found}
    lines = [f"## {column.model}, {column.task}\n"]
    for kind in ("baseline", "control"):
        if entry := by.get((kind, None, 1.0)):
            text = "Unpruned" if kind == "baseline" else "Control, trained on at keep-rate 1.0"
            lines.append(
                f"{text}: **{entry.value:.1%}** ± {entry.error * 100:.1f} ({entry.metric}, last "
                f"epoch; epoch chosen on validation: {entry.chosen:.1%}; {entry.runs} repetition"
                f"{'s' if entry.runs > 1 else ''}; {entry.gmacs:#.3g} GMACs)."
            )
    unpruned = paper.get((None, 1.0))
    if unpruned is not None:
        lines.append(f"The paper's {column.paper}, unpruned: {unpruned}.")
    head = ["score", "keep-rate", "GMACs", "off the shelf", "Δ", "fine-tuned", "chosen", "Δ"]
    head += [f"paper, {column.paper}"] if paper else []
    differ = len({entry.runs for entry in found if entry.score}) > 1
    if any(entry.score for entry in found):
        lines += ["", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for score in grid.about.scores:
        for rate in grid.about.keep_rates:
            shelf, tuned = by.get(("shelf", score, rate)), by.get(("tuned", score, rate))
            either = shelf or tuned
            if either is None:
                continue
            value, difference = _pair(tuned, differ)
            cells = [score, str(rate), f"{either.gmacs:#.3g}", *_pair(shelf, differ)]
            cells += [value, f"{tuned.chosen:.1%}" if tuned else "", difference]
            cells += [str(paper.get((score, rate), ""))] if paper else []
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "In brackets: how many repetitions stand behind a value."] if differ else []
    return "\n".join(lines) + "\n"


def _pair(entry: Entry | None, counted: bool) -> tuple[str, str]:
    if entry is None:
        return "", ""
    value = f"{entry.value:.1%} ± {entry.error * 100:.1f}" + f" ({entry.runs})" * counted
    if entry.difference is None or entry.difference_error is None:
        return value, ""
    return value, f"{entry.difference * 100:+.1f} ± {entry.difference_error * 100:.1f}"


def _made(grid: Grid, results: GridFolder, data: str) -> str:
    """Commands, repetitions, hardware, durations."""
    done = [(cell, found) for cell in grid.cells if (found := results.result(cell)) is not None]
    hours = sum(found["seconds"] for _, found in done) / 3600
    machines: dict[str, int] = {}
    for _, found in done:
        version = found["versions"]
        words = [version["processor"], f"{found['threads']} thread(s)", f"torch {version['torch']}"]
        text = ", ".join([*words, *(c for c in found.get("run_changes", ()) if "threads" not in c)])
        machines[text] = machines.get(text, 0) + 1
    lines = [
        "## How it was made\n",
        f"    spectrim grid run {grid.path} --out {results.folder}",
        f"    spectrim grid report {grid.path} --out {results.folder}\n",
        f"{hours:.1f} hours in all, on "
        + "; ".join(f"{text} ({count} cells)" for text, count in machines.items())
        + ".\n",
        "| column | recipe | changes | repetitions |",
        "| --- | --- | --- | --- |",
    ]
    for name, column in grid.about.columns.items():
        runs = "; ".join(" ".join(run) or "as it is" for run in column.runs)
        lines.append(f"| {name} | `{column.recipe}` | {' '.join(column.changes)} | {runs} |")
    tuned = f"\nFine-tuned cells and controls: {' '.join(grid.about.tuned) or 'as the recipe'}"
    for name, column in grid.about.columns.items():
        tuned += f"; {name}: {' '.join(column.tuned)}" if column.tuned else ""
    lines.append(f"{tuned}.")
    lines += ["\nCells that are finished, of how many:\n", *_progress(grid, results)]
    missing = _missing(grid, results)
    if missing:
        text = f"Not run yet (each by its name under `missing` in [{data}]({data})):"
        lines += [f"\n{text}\n", *missing]
    return "\n".join(lines) + "\n"


def _progress(grid: Grid, results: GridFolder) -> list[str]:
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


def _missing(grid: Grid, results: GridFolder) -> list[str]:
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


def draw(grid: Grid, found: Sequence[Entry], path: Path) -> bool:
    """Metric against GMACs, a panel a column, a colour a score, filled where fine-tuned.

    Returns whether there was anything to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    names = [name for name in grid.about.columns if any(e.column == name for e in found)]
    if not names:
        return False
    wide = min(4, len(names))
    high = -(-len(names) // wide)
    figure, axes = plt.subplots(high, wide, figsize=(3.1 * wide, 2.9 * high), squeeze=False)
    colours = dict(
        zip(grid.about.scores, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False)
    )
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(axes.flat, names, strict=False):
        own: list[Entry] = [e for e in found if e.column == name]
        for kind, style in (("shelf", "--"), ("tuned", "-")):
            for score in grid.about.scores:
                points = sorted((e.gmacs, e.value, e.error) for e in own
                                if (e.kind, e.score) == (kind, score))  # fmt: skip
                if points:
                    x, y, error = zip(*points, strict=True)
                    panel.errorbar(
                        x, y, error, color=colours[score], linestyle=style, marker="o",
                        markersize=3.5, linewidth=1.2, elinewidth=0.7,
                        fillstyle="full" if kind == "tuned" else "none",
                        label=f"{score}, {KINDS[kind]}",
                    )  # fmt: skip
        for kind, marker in (("baseline", "k*"), ("control", "kD")):
            for e in own:
                if e.kind == kind:
                    panel.plot(e.gmacs, e.value, marker, markersize=6, label=kind)
        column: Any = grid.about.columns[name]
        panel.set_title(f"{column.model}, {column.task}", fontsize=9)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.tick_params(labelsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("GMACs a clip", fontsize=8)
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        handles |= {
            text: handle for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
        }
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=4, fontsize=8,
                  frameon=False)  # fmt: skip
    figure.tight_layout(rect=(0, 0.14 if high == 1 else 0.09, 1, 1))
    save(path, lambda aside: figure.savefig(aside, dpi=110))
    plt.close(figure)
    return True
