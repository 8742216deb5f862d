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
from ..experiments.grid_numbers import ORDER, Entry, Numbers, reference_condition
from ..experiments.result_folder import ResultFolder
from .table1_figure import draw_table1
from .table1_findings import EVIDENCE, answers, findings, records, sentences, summary
from .table1_provenance import provenance, provenance_text

CONDITIONS = {"baseline": "unpruned", "control": "control, unpruned", **EVIDENCE}
ERRORS = """## Errors

± is one standard error in points. Values: over test clips, after averaging each clip over
repetitions. Differences: also over trainings where several repetitions exist; with a single
repetition, seed variance is not included. Accuracy uses Agresti and Coull (doi
10.1080/00031305.1998.10480550), differences in accuracy Bonett and Price (doi
10.3102/1076998611411915), mAP 400 Poisson bootstrap draws of the clips. The mean of several cases
also includes the scatter of the columns, because cases of one column share trainings (doi
10.1093/biomet/73.1.13). `spectrim.metrics.pooled` documents the formulas.
"""
FINDINGS = (
    "Number of cases with each verdict. *shows*: the difference is more than two standard errors "
    "in the direction of the finding; *contradicts*: more than two in the other direction; "
    "*cannot tell*: everything between, and every case that rests on a single training. The cases "
    "of a row are tested together: Holm's method corrects their p-values, so a row has a false "
    "verdict in at most 1 of 20 experiments. Where the answers of intensity and variation agree "
    'on 99 % of the clips, both count as one case. "Less than one point" is tested against a '
    "loss of one point; every such case in the JSON also has the p-value of the full equivalence "
    'test (one point in either direction). "At least as well" needs a clear lead here: equality '
    "cannot be shown. *By sign* counts the cases whose difference has the expected sign, whatever "
    "its error.\n"
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
    sections = [f"# {title}\n"]
    if is_drawn:
        sections.append(f"![Change in points against keep rate]({figure.name})\n")
    has_findings = any(column.paper for column in grid.definition.columns.values())
    if has_findings:
        sections += [f"{number}. {text}" for number, text in enumerate(sentences(tested), 1)]
        sections.append("")
    sections.append(_head(grid, len(missing), entries))
    if grid.definition.note:
        sections.append(f"{grid.definition.note.strip()}\n")
    if has_findings:
        text = FINDINGS + f"\nEvery case with its numbers is in [{data.name}]({data.name}).\n"
        sections += ["## The paper's findings\n", text, summary(tested), "", DIFFERENCES]
    for name in grid.definition.columns:
        if column_entries := [entry for entry in entries if entry.column == name]:
            sections.append(_table(grid, name, column_entries))
    sections += [ERRORS, provenance_text(grid, results, runs, data.name)]
    save_text(page, "\n".join(sections))
    return [page, *([figure] if is_drawn else []), data]


def _head(grid: Experiment, missing: int, entries: Sequence[Entry]) -> str:
    reference = "the baseline"
    if reference_condition(grid, "tuned") == "control":
        reference = (
            "the *control*, trained for as long without pruning (and, like the pruned models, "
            "without SpecAugment once pruning starts)"
        )
    meanings = {
        "shelf": "- **Without fine-tuning**: the baseline, pruned. Its Δ is the difference from "
        "the same weights unpruned.",
        "tuned": "- **Fine-tuned**: trained with pruning, once for each score and keep rate. Its "
        f"Δ is the difference from {reference}.",
        "elastic": "- **Elastic**: trained once for every keep rate. Its Δ is the difference from "
        f"{reference}.",
    }
    count = len(grid.cells)
    lines = [
        f"{count - missing} of {count} cells (runs) of `{grid.path}` are finished. Values are "
        "percent on test clips, ± one [standard error](#errors), of the last epoch.\n",
        "- **Unpruned**: the *baseline*.",
        *(text for name, text in meanings.items() if name in grid.definition.evidence),
        "\nAll figures of a row rest on the same repetitions (their number stands in the row), and "
        "Δ, in points, on the same clips. *Detectable* is the smallest true change that the row "
        "would find in four of five experiments, at the keep rate where this is largest; the JSON "
        "has it for every figure.\n",
    ]
    return "\n".join(lines)


def _table(grid: Experiment, name: str, entries: Sequence[Entry]) -> str:
    """The paper's layout: a row a condition and score, a column a keep rate."""
    column = grid.definition.columns[name]
    paper = paper_numbers(column.paper)
    rates = [1.0, *grid.definition.keep_rates]
    gmacs = {entry.keep_rate: entry.gmacs for entry in entries}
    clips = max(entry.clips for entry in entries)
    rows = [["GMACs per clip", "", "", *(_if_known(gmacs.get(rate)) for rate in rates), ""]]
    for condition in ORDER:
        for score in (None, *grid.definition.scores):
            by_rate = {
                entry.keep_rate: entry
                for entry in entries
                if (entry.condition, entry.score) == (condition, score)
            }
            if by_rate:
                rows.append(_row(condition, score, by_rate, rates))
    for score in (None, *grid.definition.scores):
        published = [str(paper.get((score, rate), "")) for rate in rates]
        if any(published):
            label = "fine-tuned" if score else "unpruned"
            rows.append([f"the paper's {column.paper}, {label}", score or "", "", *published, ""])
    header = ["", "score", "repetitions", *(str(rate) for rate in rates), "detectable"]
    metric_name = entries[0].metric
    return (
        f"## {column.model}, {column.task}\n\n{metric_name}, {clips} test clips\n\n"
        f"{table(rows, header)}\n"
    )


def _row(
    condition: str, score: str | None, by_rate: dict[float, Entry], rates: Sequence[float]
) -> list[str]:
    """The figures of one condition and score, each with its Δ in brackets."""
    cells = []
    for rate in rates:
        entry = by_rate.get(rate)
        if entry is None:
            cells.append("")
        elif entry.difference is None:
            cells.append(with_error(entry.value, entry.error, 100, 1))
        else:
            change = with_error(entry.difference, entry.difference_error, 100, 1, "+")
            cells.append(f"{entry.value * 100:.1f} ({change})")
    detectable = [e.detectable for e in by_rate.values() if e.detectable is not None]
    limit = f"{max(detectable) * 100:.1f}" if detectable else ""
    repetitions = str(len(next(iter(by_rate.values())).runs))
    return [CONDITIONS[condition], score or "", repetitions, *cells, limit]


def _if_known(gmacs: float | None) -> str:
    return "" if gmacs is None else significant(gmacs)
