"""The page of a grid: table, figure, the paper's numbers beside, findings, how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..assets.published import paper_numbers
from ..common.errors import SpectrimError
from ..common.files import save_json, save_text
from ..common.text import significant
from ..experiments.definition import Experiment
from ..experiments.pooled import Entry, Numbers, reference_of
from ..experiments.results import ResultFolder
from .table1_figure import draw
from .table1_findings import answers, details, findings, summary
from .table1_provenance import made

EARLY = (
    "With †: of an epoch before the keep-rate had come down (the first ones often score best on "
    "validation clips), so that these weights were not trained with all of the pruning."
)
ERRORS = """## Errors

Standard errors of values are over test clips, each clip's answers averaged over repetitions first;
those of differences (Δ, and what findings are made of) also over trainings, where several
repetitions stand behind them. With one, what another seed would change is not in its error.

Over clips, that of an
accuracy adds two clips right and two wrong (Agresti and Coull, doi 10.1080/00031305.1998.10480550):
none wrong of 300 is no certainty. That of a
difference in accuracy is Bonett and Price's for paired shares (doi 10.3102/1076998611411915), which
adds one clip won and one lost: a little wider than the plain one, so that four clips won and none
lost are no trend (McNemar's exact test gives p = 0.125). Those of mAP are from 400 Poisson
bootstrap draws of the clips; of mixtures, of the clips that they are made of, since those that
share one fail together: such errors are rather too wide (in simulated worlds, where draws of whole
mixtures give too small ones).

Over trainings, it is the standard error of the repetitions' mean, widened so that two of it are
Student's 95 % (2.15 times of three). Where repetitions are tested on the same clips (seeds), both
are joined by the root of their squares; where on others (folds), the scatter of repetitions holds
that of clips already, and the larger one counts.

The error of a mean of cases joins that over clips, every case drawing a clip alike, with the
scatter of the cases: of the columns, as the cases of one share trainings (its control, its
baseline), by the cluster-robust error of a mean (doi 10.1093/biomet/73.1.13), widened likewise.
"""


SPLITS = {"valid": "validation", "test": "test"}
BESIDE = """The paper's figures beside ours are of the epoch that scored best on the test clips (but
AST's on SPC-2), ours of the last one. Its published code takes, by intensity and variation, patches
one or two places beside those that it picked, and loses the prefix tokens; and it re-reads
AudioMAE's table of positions wrongly for clips as short as SPC-2's and ESC-50's. Its figures may
carry both; ours do not. Its unpruned models keep SpecAugment to the end; its pruned AST drops it
(its AudioMAE was meant to): what that wins or loses is in its differences, and not in ours.
"""


def report(grid: Experiment, folder: Path, page: Path) -> list[Path]:
    """Write `page` (Markdown), beside it a figure and a JSON of all figures.

    Returns the paths written.

    Raises:
        SpectrimError: no cell is finished.
    """
    results = ResultFolder(folder)
    if not any(results.result(cell) for cell in grid.cells):
        raise SpectrimError(
            f"{folder / 'cells'}: no finished cell of {grid.path}; `spectrim grid run` makes them."
        )
    numbers = Numbers(grid, results)
    found = numbers.entries
    figure = page.with_suffix(".png")
    data = page.with_suffix(".json")
    drawn = draw(grid, found, figure)
    cases = findings(grid, numbers)
    said = [case.to_dict() for case in cases]
    left = [cell.name for cell in grid.cells if results.result(cell) is None]
    rows = [vars(entry) for entry in found]
    save_json(data, {"rows": rows, "findings": answers(cases), "cases": said, "missing": left})
    title = grid.about.title or grid.path.stem.replace("-", " ").capitalize()
    parts = [f"# {title}\n", _head(grid, results, found)]
    if grid.about.note:
        parts.append(f"{grid.about.note.strip()}\n")
    if drawn:
        parts += [f"![Metric against GMACs]({figure.name})\n", *_under_figure(found)]
    paper = any(column.paper for column in grid.about.columns.values())
    if paper:
        text = (
            "What the paper says of its Table I, held against this one. How many cases say what "
            "(*shows*: by two standard errors; *does not show*: by two the other way), and the "
            "mean of all of them, in points; each with its figures [below](#case-by-case). "
            "Even where there is no difference, about one case in twenty strays over two errors, "
            "and more where one repetition stands behind a case: of the training, its error knows "
            "nothing then. The mean's error knows the clips that cases share and how cases "
            "scatter ([how](#errors)); where cases contradict each other, the mean stands for "
            "none of them. To show *at least as well* takes a clear lead here: that two scores "
            "are equal cannot be shown. *By sign*: in how many cases the bare figure has it so, "
            "whatever its error; *by sign in the paper*: the same of its own Table I, which gives "
            "no errors.\n"
        )
        parts += ["## The paper's findings\n", text, *summary(cases), "", BESIDE]
    for name in grid.about.columns:
        own = [entry for entry in found if entry.column == name]
        if own:
            parts.append(_table(grid, name, own))
    if paper and cases:
        text = (
            "Above zero where the finding shows, in points, ± one standard error, on the same "
            "clips of the repetitions that both sides have (so that a case need not be the "
            "difference of two values of a table); between two errors either way nothing can be "
            "told.\n"
        )
        parts += ["## Case by case\n", text, *details(cases)]
    parts += [ERRORS, made(grid, results, data.name)]
    save_text(page, "\n".join(parts))
    return [page, *([figure] if drawn else []), data]


def _under_figure(found: Sequence[Entry]) -> list[str]:
    """What the eye must not compare, if there is such a thing."""
    held = {e.difference_runs for e in found if e.kind == "tuned" and e.difference_runs}
    others = {e.runs for e in found if e.kind in ("baseline", "shelf")}
    if not held or held == others:
        return []
    return [
        "Broken lines and stars (off the shelf, baseline) are of all repetitions, full lines and "
        "diamonds (fine-tuned, control) of those that have a control: compare each with its own, "
        "as other clips and trainings stand behind the others. In the tables, fine-tuned values "
        "are of all repetitions that have them.\n"
    ]


def _head(grid: Experiment, results: ResultFolder, found: Sequence[Entry]) -> str:
    done = sum(results.result(cell) is not None for cell in grid.cells)
    held = "the baseline"
    if reference_of(grid, "tuned") == "control":
        held = (
            "the *control*, the baseline trained on as long without pruning (and, as where patches "
            "are pruned, without SpecAugment from the schedule's start)"
        )
    by = {entry.chosen_on for entry in found if entry.chosen_on}
    chosen = "of the epoch that validation clips chose."
    if "test" in by:
        chosen = "of the epoch that scored best on the test clips, which flatters"
        chosen += "." if by == {"test"} else ", or on validation clips: each column says which."
    return f"""{done} of {len(grid.cells)} cells (runs) of `{grid.path}` are finished; what is
missing is left blank. Values are percent on test clips, ± a [standard error](#errors).

- **Unpruned**: the *baseline*.
- **Off the shelf**: the baseline pruned without any further training; its Δ is from the same
  weights unpruned, evaluated beside them.
- **Fine-tuned**: trained on with pruning; its Δ is from {held}.
- *Chosen*: {chosen} All else is of the last epoch.

A Δ is in points, on the same clips of the repetitions that both sides have, so that it need not be
the difference of two values of a table. Under two standard errors it is no trend.
"""


def _table(grid: Experiment, name: str, found: Sequence[Entry]) -> str:
    column, paper = grid.about.columns[name], paper_numbers(grid.about.columns[name].paper)
    by = {(e.kind, e.score, e.keep_rate): e for e in found}
    lines = [f"## {column.model}, {column.task}\n"]
    for kind in ("baseline", "control"):
        if entry := by.get((kind, None, 1.0)):
            text = "Unpruned" if kind == "baseline" else "Control, trained on at keep-rate 1.0"
            lines.append(
                f"{text}: **{entry.value:.1%}** ± {entry.error * 100:.1f} ({entry.metric}, last "
                f"epoch; epoch chosen on {SPLITS[entry.chosen_on]}: {entry.chosen:.1%}; "
                f"{entry.runs} repetition{'s' if entry.runs > 1 else ''}; {entry.clips} test "
                f"clips; {significant(entry.gmacs)} GMACs)."
            )
    unpruned = paper.get((None, 1.0))
    if unpruned is not None:
        lines.append(f"The paper's {column.paper}, unpruned: {unpruned}.")
    head = ["score", "keep-rate", "GMACs", "off the shelf", "Δ", "fine-tuned", "chosen", "Δ"]
    head += [f"paper, {column.paper}, fine-tuned"] if paper else []
    counts = {n for e in found if e.score for n in (e.runs, e.difference_runs) if n}
    differ = len(counts) > 1
    if any(entry.score for entry in found):
        lines += ["", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for score in grid.about.scores:
        for rate in grid.about.keep_rates:
            shelf, tuned = by.get(("shelf", score, rate)), by.get(("tuned", score, rate))
            either = shelf or tuned
            if either is None:
                continue
            value, difference = _pair(tuned, differ)
            cells = [score, str(rate), significant(either.gmacs), *_pair(shelf, differ)]
            chosen = f"{tuned.chosen:.1%}{' †' if tuned.early else ''}" if tuned else ""
            cells += [value, chosen, difference]
            cells += [str(paper.get((score, rate), ""))] if paper else []
            lines.append("| " + " | ".join(cells) + " |")
    notes = (
        ["In brackets: how many repetitions stand behind a value, and behind a Δ."]
        if differ
        else []
    )
    notes += [EARLY] if any(entry.early for entry in found) else []
    lines += ["", " ".join(notes)] if notes else []
    return "\n".join(lines) + "\n"


def _pair(entry: Entry | None, counted: bool) -> tuple[str, str]:
    if entry is None:
        return "", ""
    value = f"{entry.value:.1%} ± {entry.error * 100:.1f}" + f" ({entry.runs})" * counted
    if entry.difference is None or entry.difference_error is None:
        return value, ""
    difference = f"{entry.difference * 100:+.1f} ± {entry.difference_error * 100:.1f}"
    return value, difference + f" ({entry.difference_runs})" * counted
