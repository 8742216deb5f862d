"""The page of a grid: findings, table, figure, the paper's results beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..assets.published import paper_numbers
from ..common.errors import SpectrimError
from ..common.files import save_json, save_text
from ..common.markdown import table
from ..common.paths import FOLDER, PROBLEMS, SPECIAL, file_type
from ..common.text import significant, with_error
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry, Numbers, reference_condition
from ..experiments.result_folder import ResultFolder
from .table1_figure import draw_table1
from .table1_findings import answers, findings, records, summary
from .table1_provenance import provenance, provenance_text

EARLY = (
    "†: the chosen epoch comes before the keep rate reached its target, so its weights were not "
    "trained with the full pruning."
)
ERRORS = """## Errors

± is one standard error in points. Values: over test clips, after averaging each clip over
repetitions. Differences: also over trainings where several repetitions exist; with a single
repetition, seed variance is not included. Accuracy uses Agresti and Coull (doi
10.1080/00031305.1998.10480550), differences in accuracy Bonett and Price (doi
10.3102/1076998611411915), mAP 400 Poisson bootstrap draws of the clips. The mean of several cases
also includes the scatter of the columns, because cases of one column share trainings (doi
10.1093/biomet/73.1.13). `spectrim.metrics.pooled` documents the formulas.
"""
SPLITS = {"valid": "validation", "test": "test"}
FINDINGS = (
    "Number of cases with each verdict. *shows*: the difference is more than two standard errors "
    "in the direction of the finding; *does not show*: more than two in the other direction; "
    "*cannot tell*: everything between. About 1 case in 20 exceeds two standard errors by chance, "
    'and more with one repetition, because the error then ignores run-to-run variance. "At least '
    'as well" needs a clear lead here: equality cannot be shown. *By sign* counts the cases whose '
    "difference has the expected sign, whatever its error.\n"
)
DIFFERENCES = """The paper reports the epoch with the best test score (except AST on SPC-2); ours is
the last epoch. The paper's code picks patches one or two positions beside the chosen ones for
intensity and variation and drops the prefix tokens. It also reads AudioMAE's position table
wrongly for clips as short as those of SPC-2 and ESC-50. Its unpruned models keep SpecAugment to
the end, its pruned AST does not. The paper's numbers may include these effects; ours do not.
"""


def report(grid: Experiment, folder: Path, page: Path) -> list[Path]:
    """Write the page, the figure and the numbers beside it; return their paths.

    The JSON beside the page holds every row, every case of every finding, how each cell was run,
    and the names of the cells that are missing.

    Raises:
        SpectrimError: no cell is finished, or the page cannot be written there.
    """
    if (page_type := file_type(page)) in (
        FOLDER,
        SPECIAL,
    ):  # before the figure beside it is written
        raise SpectrimError(f"cannot write {page}: it {PROBLEMS[page_type]}. Name another file.")
    results = ResultFolder(folder)
    if not any(results.result(cell) for cell in grid.cells):
        raise SpectrimError(
            f"{folder / 'cells'}: no finished cell of {grid.path}; run `spectrim grid run` first."
        )
    numbers = Numbers(grid, results)
    entries = numbers.entries
    # Beside a README the files are named after the grid: results/miniature/miniature.png.
    stem = grid.path.stem if page.stem == "README" else page.stem
    figure, data = page.with_name(f"{stem}.png"), page.with_name(f"{stem}.json")
    is_drawn = draw_table1(grid, entries, figure)
    tested = findings(grid, numbers)
    runs = provenance(grid, results)
    missing = [cell.name for cell in grid.cells if results.result(cell) is None]
    save_json(
        data,
        {
            "rows": [vars(entry) for entry in entries],
            "findings": answers(tested),
            "cases": records(tested),
            "missing": missing,
            "provenance": runs,
        },
    )
    title = grid.definition.title or grid.path.stem.replace("-", " ").capitalize()
    sections = [f"# {title}\n", _head(grid, len(missing), entries)]
    if grid.definition.note:
        sections.append(f"{grid.definition.note.strip()}\n")
    if any(column.paper for column in grid.definition.columns.values()):
        text = FINDINGS + f"\nEvery case with its numbers is in [{data.name}]({data.name}).\n"
        sections += ["## The paper's findings\n", text, summary(tested), "", DIFFERENCES]
    if is_drawn:
        sections += [f"![Metric against GMACs]({figure.name})\n", *_under_figure(entries)]
    for name in grid.definition.columns:
        if column_entries := [entry for entry in entries if entry.column == name]:
            sections.append(_table(grid, name, column_entries))
    sections += [ERRORS, provenance_text(grid, results, runs, data.name)]
    save_text(page, "\n".join(sections))
    return [page, *([figure] if is_drawn else []), data]


def _under_figure(entries: Sequence[Entry]) -> list[str]:
    """A caption where lines of the figure rest on different repetitions."""
    paired = {e.difference_runs for e in entries if e.condition == "tuned" and e.difference_runs}
    others = {e.runs for e in entries if e.condition in ("baseline", "shelf")}
    if not paired or paired == others:
        return []
    return [
        "Broken lines and stars (without fine-tuning, baseline) use all repetitions. Full lines "
        "and diamonds (fine-tuned, control) use the repetitions that have a control. Compare each "
        "only with its own kind. Fine-tuned values in the tables use all their repetitions.\n"
    ]


def _head(grid: Experiment, missing: int, entries: Sequence[Entry]) -> str:
    reference = "the baseline"
    if reference_condition(grid, "tuned") == "control":
        reference = (
            "the *control*, trained for as long without pruning (and, like the pruned models, "
            "without SpecAugment once pruning starts)"
        )
    splits = {entry.chosen_on for entry in entries if entry.chosen_on}
    chosen = "the epoch chosen on validation clips"
    if splits == {"test"}:
        chosen = "the epoch with the best score on the test clips, which is optimistic"
    elif "test" in splits:
        chosen = (
            "the epoch with the best score on the test clips, which is optimistic, or on "
            "validation clips: each column says which"
        )
    count = len(grid.cells)
    return f"""{count - missing} of {count} cells (runs) of `{grid.path}` are finished.
Values are percent on test clips, ± one [standard error](#errors), of the last epoch.

- **Unpruned**: the *baseline*.
- **Without fine-tuning**: the baseline, pruned. Its Δ is the difference from the same weights
  unpruned.
- **Fine-tuned**: trained with pruning. Its Δ is the difference from {reference}.
- **Chosen**: {chosen}.

Δ is in points, on the same clips of the repetitions that both sides have, so it can differ from
the difference of two values in a table.
"""


def _table(grid: Experiment, name: str, entries: Sequence[Entry]) -> str:
    column = grid.definition.columns[name]
    paper = paper_numbers(column.paper)
    by_key = {(e.condition, e.score, e.keep_rate): e for e in entries}
    lines = [f"## {column.model}, {column.task}\n"]
    for condition, label in (
        ("baseline", "Unpruned"),
        ("control", "Control, trained at keep rate 1.0"),
    ):
        if entry := by_key.get((condition, None, 1.0)):
            lines.append(
                f"{label}: **{_percent(entry)}** ({entry.metric}, last epoch; epoch chosen on "
                f"{SPLITS[entry.chosen_on]}: {entry.chosen * 100:.1f}; "
                f"{entry.runs} repetition{'s' if entry.runs > 1 else ''}; {entry.clips} test "
                f"clips; {significant(entry.gmacs)} GMACs)."
            )
    if (unpruned := paper.get((None, 1.0))) is not None:
        lines.append(f"The paper's {column.paper}, unpruned: {unpruned}.")
    header = ["score", "keep rate", "GMACs", "without fine-tuning", "Δ", "fine-tuned", "chosen"]
    header += ["Δ", *([f"paper, {column.paper}, fine-tuned"] if paper else [])]
    repetitions = {n for e in entries if e.score for n in (e.runs, e.difference_runs) if n}
    is_counted = len(repetitions) > 1
    rows = []
    for score in grid.definition.scores:
        for rate in grid.definition.keep_rates:
            untuned, tuned = by_key.get(("shelf", score, rate)), by_key.get(("tuned", score, rate))
            present = untuned or tuned
            if present is None:
                continue
            value, difference = _cells(tuned, is_counted)
            chosen = f"{tuned.chosen * 100:.1f}{' †' if tuned.early else ''}" if tuned else ""
            row = [score, rate, significant(present.gmacs), *_cells(untuned, is_counted), value]
            rows.append(
                [*row, chosen, difference, *([paper.get((score, rate), "")] if paper else [])]
            )
    if rows:
        lines += ["", table(rows, header)]
    notes = ["In brackets: the number of repetitions behind a value or a Δ."] * is_counted
    notes += [EARLY] * any(entry.early for entry in entries)
    lines += ["", " ".join(notes)] if notes else []
    return "\n".join(lines) + "\n"


def _percent(entry: Entry) -> str:
    return with_error(entry.value, entry.error, 100, 1)


def _cells(entry: Entry | None, is_counted: bool) -> tuple[str, str]:
    """Value and Δ, with the numbers of repetitions behind them where these differ."""
    if entry is None:
        return "", ""
    value = _percent(entry) + f" ({entry.runs})" * is_counted
    if entry.difference is None:
        return value, ""
    difference = with_error(entry.difference, entry.difference_error, 100, 1, "+")
    return value, difference + f" ({entry.difference_runs})" * is_counted
