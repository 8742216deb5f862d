"""The page of a grid: figure, findings, tables, the paper's results beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..assets.published import paper_numbers
from ..common.errors import SpectrimError
from ..common.files import save_json, save_text
from ..common.markdown import table
from ..common.paths import FOLDER, PROBLEMS, SPECIAL, file_type
from ..common.text import significant, with_error
from ..experiments.cells import ablation_row, condition_order, reference_condition
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry, Numbers
from ..experiments.result_folder import ResultFolder
from .findings import MIN_TRAININGS
from .table1_figure import draw_table1
from .table1_findings import EVIDENCE, answers, findings, records, sentences, summary
from .table1_provenance import provenance, provenance_text

CONDITIONS = {"baseline": "unpruned", "control": "control, unpruned", **EVIDENCE}
ERRORS = """## Errors

± is one standard error in points. Values: over test clips, after averaging each clip over
repetitions. Differences: also over trainings where several repetitions exist; with a single
repetition, seed variance is not included. An error from the spread of few trainings or tables is
widened, so that two errors are half of Student's 95 % interval: the factor is 2.15 for three
trainings, and 6.35 for two tables. Accuracy uses Agresti and Coull (doi
10.1080/00031305.1998.10480550), differences in accuracy Bonett and Price (doi
10.3102/1076998611411915), mAP 400 Poisson bootstrap draws of the clips. The mean of several cases
also includes the scatter of the columns, because cases of one column share trainings (doi
10.1093/biomet/73.1.13). mAP is computed from outputs that are stored in float16.
`spectrim.metrics.pooled` documents the formulas.
"""
CAPTION = """Change of accuracy or mAP, in points, from the unpruned reference of each line (Δ, see
below). Error bars are one standard error. The grey band is between -1 and +1 point.
"""
FINDINGS = (
    "Each row counts the cases with each verdict. A case is one comparison, at one keep rate.\n\n"
    "- *shows*: the difference has the direction of the finding, and its corrected p-value is "
    "below 0.05 (without correction: more than two standard errors).\n"
    "- *contradicts*: the same in the opposite direction.\n"
    "- *cannot tell*: all other cases, and every case with a single training.\n\n"
    "Holm's method corrects the p-values of a row for its number of cases, so a row has one or "
    "more false verdicts in at most 1 of 20 experiments. The p-values are those of Student's "
    "distribution, with few degrees of freedom if an error comes from the spread of two or three "
    "trainings. If intensity and variation give the same top class on at least 99 % of the "
    "clips, they count as one case.\n\n"
    "The *mean* is over all cases of a row, also those with a single training. Each mean "
    "is one test. Holm's method corrects its p-value for the number of means in the table. The "
    "error of a mean includes the spread between the tables below. Because of the correction, a "
    'mean of more than two errors can be "cannot tell".\n\n'
    '- "At least as well": the difference is attention minus another score. *shows* needs a clear '
    "lead of attention, because this test cannot show that two scores are equal.\n"
    '- "Less than one point": the difference is the change plus one point, so it is positive if '
    "the loss is below one point. The JSON also has the p-value of an equivalence test: that the "
    "change is between -1 and +1 point (not corrected).\n"
    '- "AudioMAE loses more": the difference is the loss of AudioMAE minus the loss of AST.\n\n'
    "*By sign* counts the cases with a positive difference, regardless of the error.\n"
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
    # Beside a README the files are named after the grid: results/table1/table1-tiny.png.
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
        sections += [f"![Change in points against keep rate]({figure.name})\n", CAPTION]
    has_findings = any(column.paper for column in grid.definition.columns.values())
    if has_findings:
        sections.append(
            "Verdict on each of the paper's findings, with each kind of evidence "
            "([rules and definitions](#the-papers-findings)):\n"
        )
        sections += [f"{number}. {text}" for number, text in enumerate(sentences(tested), 1)]
        sections += ["", _several_trainings(grid, entries), ""]
    sections.append(_head(grid, len(missing)))
    if grid.definition.note:
        sections.append(f"{grid.definition.note.strip()}\n")
    if has_findings:
        text = FINDINGS + f"\nEvery case with its numbers is in [{data.name}]({data.name}).\n"
        sections += ["## The paper's findings\n", text, summary(tested), "", DIFFERENCES]
    for name in grid.definition.columns:
        if column_entries := [entry for entry in entries if entry.column == name]:
            sections.append(_table(grid, name, column_entries))
    if alternatives := _alternatives(grid, numbers):
        sections.append(alternatives)
    sections += [ERRORS, provenance_text(grid, results, runs, data.name)]
    save_text(page, "\n".join(sections))
    return [page, *([figure] if is_drawn else []), data]


def _head(grid: Experiment, missing: int) -> str:
    definition = grid.definition
    conditions = {reference_condition(definition, name, "tuned") for name in definition.columns}
    reference = " or, in tables without a control, ".join(
        f"the {name}" for name in sorted(conditions, reverse=True)
    )
    tuned_rates = ", ".join(map(str, definition.tuned_keep_rates or definition.keep_rates))
    meanings = {
        "control": "- **Control**: trained like the fine-tuned models, but without pruning. "
        "SpecAugment stops at the same step as theirs. Its Δ is the difference from the baseline.",
        "untuned": "- **Without fine-tuning**: the baseline, pruned. Its Δ is the difference from "
        "the same weights unpruned.",
        "tuned": "- **Fine-tuned**: trained with pruning, once for each score and keep rate "
        f"({tuned_rates}). Its Δ is the difference from {reference}.",
        "elastic": "- **Elastic**: trained once for all keep rates. Its Δ is the difference from "
        f"{reference}. So Δ includes the change without pruning, which the row without a score "
        "states.",
    }
    count = len(grid.cells)
    lines = [
        f"{count - missing} of {count} cells (runs) of `{grid.path}` are finished. Values are "
        "percent on test clips after the last epoch. Δ follows in brackets, in points, on the same "
        "clips. ± is one [standard error](#errors).\n",
        "- **Unpruned**: the *baseline*.",
        *(text for name, text in meanings.items() if name in grid.definition.all_evidence()),
        "\nAll figures of a row use the same repetitions. The row states their number.\n",
        "*Detectable*, in points: a true change of this size exceeds two standard errors in about "
        "4 of 5 experiments (2.84 standard errors). Holm's correction is not included, and for a "
        "single repetition seed variance is not included. A row states the largest value of its "
        "keep rates. The JSON has the value of each figure.\n",
    ]
    return "\n".join(lines)


def _several_trainings(grid: Experiment, entries: Sequence[Entry]) -> str:
    """Which tables can decide a case: those with several trainings of pruned or elastic models."""
    columns = grid.definition.columns
    tables = {
        f"{columns[entry.column].model}, {columns[entry.column].task}": None
        for entry in entries
        if entry.condition in EVIDENCE and len(entry.runs) >= MIN_TRAININGS
    }
    names = "; ".join(tables) or "none yet"
    return (
        f"Tables with several trainings: {names}. A case of any other table rests on one training, "
        'so it is always "cannot tell".'
    )


def _table(grid: Experiment, name: str, entries: Sequence[Entry]) -> str:
    """The paper's layout: one row per condition and score, one column per keep rate."""
    column = grid.definition.columns[name]
    paper = paper_numbers(column.paper)
    rates = [1.0, *grid.definition.keep_rates]
    gmacs = {entry.keep_rate: entry.gmacs for entry in entries}
    clips = max(entry.clips for entry in entries)
    rows = [["GMACs per clip", "", "", *(_if_known(gmacs.get(rate)) for rate in rates), ""]]
    for condition in condition_order(grid.definition):
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
    header = ["", "score", "repetitions", *(str(rate) for rate in rates), "detectable (points)"]
    metric_name = entries[0].metric
    return (
        f"## {column.model}, {column.task}\n\n{metric_name} in %, {clips} test clips over all "
        "repetitions. Columns are keep rates.\n\n"
        f"{table(rows, header)}\n"
    )


def _alternatives(grid: Experiment, numbers: Numbers) -> str:
    """Ablations and fine-tuning less elastic training, by attention; "" if there are none."""
    rates = [1.0, *grid.definition.keep_rates]
    alternatives = {"fine-tuned, once for each keep rate": "tuned"}
    alternatives |= {row: row for row in map(ablation_row, grid.definition.ablations)}
    rows = []
    for name, column in grid.definition.columns.items():
        for label, condition in alternatives.items():
            gaps = []
            for rate in rates:
                setting = (None if rate == 1 else "attention", rate)
                alternative = numbers.get(name, condition, *setting)
                elastic = numbers.get(name, "elastic", *setting)
                gaps.append(numbers.gap(alternative, elastic) if alternative and elastic else None)
            trainings = {gap.trainings or 0 for gap in gaps if gap is not None}
            if trainings:
                cells = ["" if gap is None else with_error(gap.value, gap.error, 100, 1, "+")
                         for gap in gaps]  # fmt: skip
                rows.append([f"{column.model}, {column.task}", label, max(trainings), *cells])
    if not rows:
        return ""
    header = ["", "alternative", "repetitions", *map(str, rates)]
    return (
        "## Alternatives to elastic training\n\nAlternative minus elastic training, in points on "
        "the same clips, with its standard error. All trainings of a row have the same start, "
        "epochs and seeds. Negative: elastic training is better. Pruned by attention. Columns are "
        f"keep rates.\n\n{table(rows, header)}\n"
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
    return [CONDITIONS.get(condition, condition), score or "", repetitions, *cells, limit]


def _if_known(gmacs: float | None) -> str:
    return "" if gmacs is None else significant(gmacs)
