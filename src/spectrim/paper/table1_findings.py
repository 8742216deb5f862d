"""The paper's findings about Table I, held against the entries of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..assets.published import paper_numbers
from ..common.markdown import table
from ..common.text import with_error
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry, Numbers
from ..metrics.pooled import Gap, mean_of
from ..pruning.defaults import PAPER_SCORES
from .findings import VERDICTS, Case, Finding, case_of, verdict

LOW = (0.5, 0.4)  # low keep rates
SAVED = (0.30, 0.40)  # share of MACs saved in the paper's second finding
EVIDENCE = {"tuned": "fine-tuned", "shelf": "without fine-tuning"}
ATTENTION = "Attention ranks at least as well as intensity and variation at keep rates 0.5 and 0.4"
POINT = "30 to 40 % fewer MACs by attention cost less than one point"
POINT_TOO = "30 to 40 % fewer MACs by intensity or variation cost less than one point"
SENSITIVE = "AudioMAE loses more than AST at keep rates 0.5 and 0.4, by attention"
SENSITIVE_TOO = "AudioMAE loses more than AST at keep rates 0.5 and 0.4, by the other two"
TESTS = {
    ATTENTION: "Difference: attention less another score, at the same keep rate.",
    POINT: "Difference: the change from the unpruned reference, plus one point.",
    POINT_TOO: "Difference: the change from the unpruned reference, plus one point.",
    SENSITIVE: "Difference: the change of AST less the change of AudioMAE.",
    SENSITIVE_TOO: "Difference: the change of AST less the change of AudioMAE.",
}


def findings(grid: Experiment, numbers: Numbers) -> list[Finding]:
    """Each finding with fine-tuned cells and with cells without fine-tuning as evidence."""
    cases = {
        (title, condition): list(cases_of(grid, numbers, condition))
        for titles, cases_of in CASES
        for title in titles
        for condition in EVIDENCE
    }
    return [
        Finding(
            title, test, [case for name, case in cases[title, condition] if name == title],
            "no such cells yet", EVIDENCE[condition],
        )
        for title, test in TESTS.items()
        for condition in EVIDENCE
    ]  # fmt: skip


def answers(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """How many cases of each finding have each verdict, and the mean of all its cases."""
    rows = []
    for finding in findings:
        cases = finding.cases
        published = [c.paper_difference for c in cases if c.paper_difference is not None]
        row: dict[str, Any] = {"finding": finding.title, "evidence": finding.evidence}
        row |= {word: finding.counts[word] for word in VERDICTS}
        row |= {"by_sign": _holding(finding, [case.gap.value for case in cases])}
        row |= {"cases": len(cases), "in_paper": _holding(finding, published)}
        row["paper_cases"] = len(published)
        if cases:
            mean = mean_of([case.gap for case in cases], [case.group for case in cases])
            row |= {"difference": mean.value, "error": mean.error}
            row["verdict"] = verdict(mean.value, mean.error)
        rows.append(row)
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
            "error": case.error, "verdict": case.verdict,
        }
        for finding in findings
        for case in finding.cases
    ]  # fmt: skip


def summary(findings: Iterable[Finding]) -> str:
    """`answers` as a Markdown table."""
    header = ["finding", "evidence", *VERDICTS, "mean, points", "verdict of the mean", "by sign",
              "by sign in the paper"]  # fmt: skip
    rows = []
    for row in answers(findings):
        cells = [row["finding"], row["evidence"]]
        if row["cases"]:
            cells += [row[word] for word in VERDICTS]
            cells += [with_error(row["difference"], row["error"], 100, 1, "+"), row["verdict"]]
            cells.append(f"{row['by_sign']} of {row['cases']}")
            cells.append(f"{row['in_paper']} of {row['paper_cases']}" if row["paper_cases"] else "")
        else:
            cells += ["no such cells yet", *[""] * (len(header) - 3)]
        rows.append(cells)
    return table(rows, header)


def _attention(grid: Experiment, numbers: Numbers, condition: str) -> Iterator[tuple[str, Case]]:
    for entry in numbers.entries:
        if (entry.condition, entry.score) != (condition, "attention") or entry.keep_rate not in LOW:
            continue
        paper = _paper(grid, entry.column, condition)
        for other in PAPER_SCORES[1:]:
            against = numbers.get(entry.column, condition, other, entry.keep_rate)
            if against is not None and (gap := numbers.gap(entry, against)):
                name = f"{entry.column} at {entry.keep_rate}, over {other}"
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
        saved = 1 - entry.gmacs / full.gmacs
        if SAVED[0] - 0.005 <= saved <= SAVED[1] + 0.005:
            name = f"{entry.column} by {entry.score} at {entry.keep_rate}, plus one point"
            more = Gap(gap.value + 0.01, gap.error, gap.draws + 0.01)
            paper = _paper(grid, entry.column, condition)
            theirs = _less(paper, (entry.score, entry.keep_rate), (None, 1.0))
            theirs = None if theirs is None else theirs + 0.01
            finding = POINT if entry.score == "attention" else POINT_TOO
            yield finding, case_of(name, entry.column, more, theirs)


def _sensitivity(grid: Experiment, numbers: Numbers, condition: str) -> Iterator[tuple[str, Case]]:
    for ast, mae in _ast_and_audiomae(grid, numbers, condition):
        if gap := numbers.gap_of_differences(ast, mae):
            task = grid.definition.columns[ast.column].task
            name = f"{task} by {ast.score} at {ast.keep_rate}"
            setting = ast.score, ast.keep_rate
            losses = [
                _less(_paper(grid, e.column, condition), setting, (None, 1.0)) for e in (ast, mae)
            ]
            one, other = losses
            theirs = None if one is None or other is None else one - other
            finding = SENSITIVE if ast.score == "attention" else SENSITIVE_TOO
            yield finding, case_of(name, task, gap, theirs)


Setting = tuple[str | None, float]  # score and keep rate


def _paper(grid: Experiment, column: str, condition: str) -> dict[Setting, float]:
    """The paper's percentages of a column; it has fine-tuned ones alone."""
    return paper_numbers(grid.definition.columns[column].paper) if condition == "tuned" else {}


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
