"""The paper's findings about Table I, held against the entries of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..assets.published import paper_numbers
from ..common.markdown import table
from ..common.text import with_error
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry, Numbers
from ..metrics.pooled import mean_of
from ..metrics.significance import equivalence_p_value, holm, p_value
from ..pruning.defaults import PAPER_SCORES
from .findings import (
    CANNOT_TELL,
    CONTRADICTS,
    SHOWS,
    VERDICTS,
    Case,
    Finding,
    case_of,
    verdict,
    with_corrected_p_values,
)

LOW = (0.5, 0.4)  # low keep rates
SAVED = (0.30, 0.40)  # share of MACs saved in the paper's second finding
SAME_ANSWERS = 0.99  # two scores with the same top class on this share of clips are one case
MARGIN = 0.01  # one point
# Conditions that are evidence, the most important first, and their names on the page.
EVIDENCE = {"elastic": "elastic", "tuned": "fine-tuned", "untuned": "without fine-tuning"}
ATTENTION = "Attention ranks at least as well as intensity and variation at keep rates 0.5 and 0.4"
POINT = "30 to 40 % fewer MACs by attention cost less than one point"
POINT_TOO = "30 to 40 % fewer MACs by intensity or variation cost less than one point"
SENSITIVE = "AudioMAE loses more than AST at keep rates 0.5 and 0.4, by attention"
SENSITIVE_TOO = "AudioMAE loses more than AST at keep rates 0.5 and 0.4, by intensity or variation"
TESTS = {
    ATTENTION: "Difference: attention less another score, at the same keep rate.",
    POINT: "Difference: the change from the unpruned reference, plus one point.",
    POINT_TOO: "Difference: the change from the unpruned reference, plus one point.",
    SENSITIVE: "Difference: the change of AST less the change of AudioMAE.",
    SENSITIVE_TOO: "Difference: the change of AST less the change of AudioMAE.",
}
MEANS = {  # what the mean over the cases of each finding is, in the sentences of the page
    ATTENTION: "mean lead of attention",
    POINT: "mean change",
    POINT_TOO: "mean change",
    SENSITIVE: "mean loss of AudioMAE minus loss of AST",
    SENSITIVE_TOO: "mean loss of AudioMAE minus loss of AST",
}


def findings(grid: Experiment, numbers: Numbers) -> list[Finding]:
    """Each finding with each kind of evidence that the grid has.

    The p-values of a finding's cases with one kind of evidence are corrected for their number.
    """
    conditions = [name for name in EVIDENCE if name in grid.definition.all_evidence()]
    cases = {
        (title, condition): list(cases_of(grid, numbers, condition))
        for titles, cases_of in CASES
        for title in titles
        for condition in conditions
    }

    def finding(title: str, condition: str) -> Finding:
        tested = [case for name, case in cases[title, condition] if name == title]
        corrected = with_corrected_p_values(tested)
        return Finding(title, TESTS[title], corrected, "no such cells yet", EVIDENCE[condition])

    return [finding(title, condition) for title in TESTS for condition in conditions]


def answers(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """How many cases of each finding have each verdict, and the mean of all its cases.

    The p-values of the means are corrected for the number of means (Holm).
    """
    rows, p_values = [], []
    for finding in findings:
        cases = finding.cases
        published = [c.paper_difference for c in cases if c.paper_difference is not None]
        row: dict[str, Any] = {"finding": finding.title, "evidence": finding.evidence}
        row |= {word: finding.counts[word] for word in VERDICTS}
        row |= {"by_sign": _holding(finding, [case.gap.value for case in cases])}
        row |= {"cases": len(cases), "in_paper": _holding(finding, published)}
        row["paper_cases"] = len(published)
        row["trainings"] = sorted({case.trainings for case in cases if case.trainings})
        if cases:
            mean = mean_of([case.gap for case in cases], [case.group for case in cases])
            row |= {"difference": mean.value, "error": mean.error}
            p_values.append(p_value(mean.value, mean.error, mean.freedom))
        rows.append(row)
    tested = [row for row in rows if row["cases"]]
    for row, corrected in zip(tested, holm(p_values), strict=True):
        row["corrected_p"] = corrected
        row["verdict"] = verdict(row["difference"], row["error"], corrected)
    return rows


def _holding(finding: Finding, differences: Sequence[float]) -> int:
    """In how many cases the sign agrees: "at least as well" also holds at a tie."""
    if finding.title == ATTENTION:
        return sum(difference > -1e-9 for difference in differences)
    return sum(difference > 1e-9 for difference in differences)


def records(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Every case of every finding as plain data."""
    return [
        {
            "finding": finding.title, "evidence": finding.evidence, "name": case.name,
            "group": case.group, "paper": case.paper_difference, "difference": case.difference,
            "error": case.error, "trainings": case.trainings, "corrected_p": case.corrected_p,
            "equivalence_p": case.equivalence_p, "verdict": case.verdict,
        }
        for finding in findings
        for case in finding.cases
    ]  # fmt: skip


def sentences(findings: Iterable[Finding]) -> list[str]:
    """One sentence for each claim: the verdict of the mean with each kind of evidence."""
    by_title: dict[str, list[dict[str, Any]]] = {}
    for row in answers(findings):
        by_title.setdefault(row["finding"], []).append(row)
    return [
        f"**{title}**: {'; '.join(_evidence_in_words(row) for row in rows)}."
        for title, rows in by_title.items()
    ]


def _evidence_in_words(row: Mapping[str, Any]) -> str:
    if not row["cases"]:
        return f"{row['evidence']}, no such cells yet"
    # The tested difference is a change plus one point; the sentence states the change itself.
    added = MARGIN if row["finding"] in (POINT, POINT_TOO) else 0.0
    mean = with_error(row["difference"] - added, row["error"], 100, 1, "+")
    counts = [f"{word} in {row[word]}" for word in (SHOWS, CONTRADICTS) if row[word]]
    if row["cases"] == 1:
        counted = "one case"
    elif counts:
        counted = f"{' and '.join(counts)} of {row['cases']} cases"
    else:
        number = "both" if row["cases"] == 2 else f"all {row['cases']}"
        counted = f"{CANNOT_TELL} in {number} cases"
    name = MEANS[row["finding"]]
    return f"{row['evidence']}, {row['verdict']} ({name}: {mean} points; {counted})"


def summary(findings: Iterable[Finding]) -> str:
    """`answers` as a Markdown table."""
    header = ["finding", "evidence", "trainings", *VERDICTS, "mean difference, points",
              "verdict of the mean", "by sign", "by sign in the paper"]  # fmt: skip
    rows = []
    for row in answers(findings):
        cells = [row["finding"], row["evidence"]]
        if row["cases"]:
            fewest_and_most = dict.fromkeys((min(row["trainings"]), max(row["trainings"])))
            cells.append(" to ".join(map(str, fewest_and_most)))
            cells += [row[word] for word in VERDICTS]
            cells += [with_error(row["difference"], row["error"], 100, 1, "+"), row["verdict"]]
            cells.append(f"{row['by_sign']} of {row['cases']}")
            cells.append(f"{row['in_paper']} of {row['paper_cases']}" if row["paper_cases"] else "")
        else:
            cells += ["no such cells yet", *[""] * (len(header) - 3)]
        rows.append(cells)
    return table(rows, header)


def _separate_scores(
    numbers: Numbers, column: str, condition: str, keep_rate: float
) -> dict[str, str]:
    """Intensity and variation, or one of them if both have the same top class on 99 % of the clips.

    Returns:
        The scores to test, each with its name in cases.
    """
    one, other = PAPER_SCORES[1:]
    entries = [numbers.get(column, condition, score, keep_rate) for score in (one, other)]
    if None not in entries:
        first, second = (entry for entry in entries if entry is not None)
        if (numbers.agreement(first, second) or 0.0) >= SAME_ANSWERS:
            return {one: f"{one} and {other}"}
    return {one: one, other: other}


def _attention(grid: Experiment, numbers: Numbers, condition: str) -> Iterator[tuple[str, Case]]:
    for entry in numbers.entries:
        if (entry.condition, entry.score) != (condition, "attention") or entry.keep_rate not in LOW:
            continue
        paper = _paper(grid, entry.column, condition)
        others = _separate_scores(numbers, entry.column, condition, entry.keep_rate)
        for other, label in others.items():
            against = numbers.get(entry.column, condition, other, entry.keep_rate)
            if against is not None and (gap := numbers.gap(entry, against)):
                name = f"{entry.column} at {entry.keep_rate}, over {label}"
                theirs = _less(paper, ("attention", entry.keep_rate), (other, entry.keep_rate))
                yield ATTENTION, case_of(name, entry.column, gap, theirs)


def _within_a_point(
    grid: Experiment, numbers: Numbers, condition: str
) -> Iterator[tuple[str, Case]]:
    for entry in numbers.entries:
        full = numbers.get(entry.column, "baseline", None, 1.0)
        gap = numbers.from_reference(entry)
        if entry.condition != condition or full is None or gap is None:
            continue
        label = _label(numbers, [entry.column], entry)
        saved = 1 - entry.gmacs / full.gmacs
        if label is not None and SAVED[0] - 0.005 <= saved <= SAVED[1] + 0.005:
            name = f"{entry.column} by {label} at {entry.keep_rate}, plus one point"
            more = replace(gap, value=gap.value + MARGIN, draws=gap.draws + MARGIN)
            paper = _paper(grid, entry.column, condition)
            theirs = _less(paper, (entry.score, entry.keep_rate), (None, 1.0))
            theirs = None if theirs is None else theirs + MARGIN
            finding = POINT if entry.score == "attention" else POINT_TOO
            case = case_of(name, entry.column, more, theirs)
            equivalence = equivalence_p_value(gap.value, gap.error, MARGIN, gap.freedom)
            yield finding, replace(case, equivalence_p=equivalence)


def _sensitivity(grid: Experiment, numbers: Numbers, condition: str) -> Iterator[tuple[str, Case]]:
    for ast, mae in _ast_and_audiomae(grid, numbers, condition):
        label = _label(numbers, [ast.column, mae.column], ast)
        gap = numbers.gap_of_differences(ast, mae)
        if gap is not None and label is not None:
            task = grid.definition.columns[ast.column].task
            name = f"{task} by {label} at {ast.keep_rate}"
            setting = ast.score, ast.keep_rate
            losses = [
                _less(_paper(grid, e.column, condition), setting, (None, 1.0)) for e in (ast, mae)
            ]
            one, other = losses
            theirs = None if one is None or other is None else one - other
            finding = SENSITIVE if ast.score == "attention" else SENSITIVE_TOO
            yield finding, case_of(name, task, gap, theirs)


def _label(numbers: Numbers, columns: Sequence[str], entry: Entry) -> str | None:
    """The name of an entry's score in a case; None if the case of another score includes it.

    Args:
        columns: two scores are one case only if they have the same answers in all these columns.
    """
    if entry.score not in PAPER_SCORES[1:]:
        return entry.score
    names = [
        _separate_scores(numbers, column, entry.condition, entry.keep_rate) for column in columns
    ]
    is_one_case = all(len(name) == 1 for name in names)
    return names[0].get(entry.score) if is_one_case else entry.score


Setting = tuple[str | None, float]  # score and keep rate


def _paper(grid: Experiment, column: str, condition: str) -> dict[Setting, float]:
    """The paper's percentages of a column, all of them fine-tuned; {} without fine-tuning."""
    return paper_numbers(grid.definition.columns[column].paper) if condition != "untuned" else {}


def _less(paper: dict[Setting, float], one: Setting, other: Setting) -> float | None:
    if one not in paper or other not in paper:
        return None
    return (paper[one] - paper[other]) / 100


def _ast_and_audiomae(
    grid: Experiment, numbers: Numbers, condition: str
) -> Iterator[tuple[Entry, Entry]]:
    """AST's and AudioMAE's figures on one task, at low keep rates."""
    columns = grid.definition.columns
    for ast in numbers.entries:
        task = columns[ast.column].task
        if (
            ast.condition != condition
            or columns[ast.column].model != "AST"
            or ast.keep_rate not in LOW
        ):
            continue
        for name, column in columns.items():
            mae = numbers.get(name, condition, ast.score, ast.keep_rate)
            if (column.model, column.task) == ("AudioMAE", task) and mae is not None:
                yield ast, mae


CASES: list[tuple[tuple[str, ...], Callable[..., Iterator[tuple[str, Case]]]]] = [
    ((ATTENTION,), _attention),
    ((POINT, POINT_TOO), _within_a_point),
    ((SENSITIVE, SENSITIVE_TOO), _sensitivity),
]
