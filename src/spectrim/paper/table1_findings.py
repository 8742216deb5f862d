"""The paper's findings that a grid's table can speak to: shows, does not show, cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..assets.published import paper_numbers
from ..experiments.definition import Experiment
from ..experiments.pooled import Entry, Numbers
from ..metrics.pooled import Gap, mean_of

LOW = (0.5, 0.4)  # low keep-rates
SAVED = (0.30, 0.40)  # share of MACs saved in the paper's second finding
EVIDENCE = {"tuned": "fine-tuned", "shelf": "off the shelf"}
ATTENTION = "Attention ranks at least as well as intensity and variation at keep-rates 0.5 and 0.4"
POINT = "30 to 40 % fewer MACs by attention cost less than one point"
POINT_TOO = "30 to 40 % fewer MACs by intensity or variation cost less than one point"
SENSITIVE = "AudioMAE loses more than AST at keep-rates 0.5 and 0.4, by attention"
SENSITIVE_TOO = "AudioMAE loses more than AST at keep-rates 0.5 and 0.4, by the other two"
FINDINGS = (ATTENTION, POINT, POINT_TOO, SENSITIVE, SENSITIVE_TOO)
VERDICTS = ("shows", "does not show", "cannot tell")


@dataclass(frozen=True)
class Case:
    """One test of a finding: a gap that is above zero where it shows.

    Attributes:
        group: the column (of both models: the task), whose cases share trainings.
        paper: the same gap in the paper's own Table I, as a share; None where that has none.
    """

    finding: str
    evidence: str
    name: str
    group: str
    gap: Gap
    paper: float | None = None

    @property
    def verdict(self) -> str:
        """Shows, does not show, cannot tell."""
        return verdict(self.gap)

    def to_dict(self) -> dict[str, object]:
        """Plain data, draws left aside."""
        about = {"finding": self.finding, "evidence": self.evidence, "name": self.name}
        return about | {"group": self.group, "paper": self.paper} | _plain(self.gap)


def findings(grid: Experiment, numbers: Numbers) -> list[Case]:
    """Every case of every finding, fine-tuned cells first."""
    return [
        case
        for kind in EVIDENCE
        for cases in (_attention(grid, numbers, kind), _within_a_point(grid, numbers, kind),
                      _sensitivity(grid, numbers, kind))
        for case in cases
    ]  # fmt: skip


def verdict(gap: Gap) -> str:
    """ "shows" a positive difference of two standard errors, "does not show" a negative one."""
    if gap.value >= 2 * gap.error and gap.value > 0:
        return "shows"
    return "does not show" if gap.value <= -2 * gap.error and gap.value < 0 else "cannot tell"


def answers(cases: list[Case]) -> list[dict[str, object]]:
    """Of each finding and kind of evidence: how many cases say what, and the mean of all."""
    found = []
    for (finding, evidence), own in _sorted(cases):
        said = Counter(case.verdict for case in own)
        row: dict[str, object] = {"finding": finding, "evidence": evidence}
        row |= {word: said[word] for word in VERDICTS}
        theirs = [case.paper for case in own if case.paper is not None]
        row |= {"by_sign": _so(finding, [case.gap.value for case in own]), "cases": len(own)}
        row |= {"in_paper": _so(finding, theirs), "paper_cases": len(theirs)}
        if own:
            row |= _plain(mean_of([case.gap for case in own], [case.group for case in own]))
        found.append(row)
    return found


def _so(finding: str, gaps: list[float]) -> int:
    """In how many cases the bare figures have it so: "at least as well" holds at a tie."""
    return sum(gap > -1e-9 if finding == ATTENTION else gap > 1e-9 for gap in gaps)


def summary(cases: list[Case]) -> list[str]:
    """`answers` as a Markdown table."""
    head = ["finding", "evidence", *VERDICTS, "mean of all", "", "by sign", "by sign in the paper"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for row in answers(cases):
        cells = [row["finding"], row["evidence"], *(row[word] for word in VERDICTS)]
        if "verdict" in row:
            cells += [_points(row["difference"], row["error"]), row["verdict"]]
            cells += [f"{row['by_sign']} of {row['cases']}"]
            cells += [f"{row['in_paper']} of {row['paper_cases']}" if row["paper_cases"] else ""]
        else:
            cells[2:] = ["no such cells yet", "", "", "", "", "", ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def details(cases: list[Case]) -> list[str]:
    """Markdown tables: one a finding and kind of evidence, in it a line a case."""
    lines = []
    for (finding, evidence), own in _sorted(cases):
        if own:
            theirs = any(case.paper is not None for case in own)
            head = [f"### {finding}: {evidence}\n",
                    "| case | points | |" + " paper's |" * theirs,
                    "| --- " * (3 + theirs) + "|"]  # fmt: skip
            rows = [
                f"| {c.name} | {_points(c.gap.value, c.gap.error)} | {c.verdict} |"
                + ("" if not theirs else " |" if c.paper is None else f" {c.paper * 100:+.1f} |")
                for c in own
            ]
            lines += [*head, *rows, ""]
    return lines


def _plain(gap: Gap) -> dict[str, object]:
    return {"difference": gap.value, "error": gap.error, "verdict": verdict(gap)}


def _points(difference: Any, error: Any) -> str:
    return f"{round(difference * 100, 1) + 0.0:+.1f} ± {error * 100:.1f}"  # never -0.0


def _sorted(cases: list[Case]) -> Iterator[tuple[tuple[str, str], list[Case]]]:
    for finding in FINDINGS:
        for evidence in EVIDENCE.values():
            key = finding, evidence
            yield key, [case for case in cases if (case.finding, case.evidence) == key]


def _attention(grid: Experiment, numbers: Numbers, kind: str) -> Iterator[Case]:
    for entry in numbers.entries:
        if (entry.kind, entry.score) != (kind, "attention") or entry.keep_rate not in LOW:
            continue
        paper = _paper(grid, entry.column, kind)
        for other in ("intensity", "variation"):
            against = numbers.get(entry.column, kind, other, entry.keep_rate)
            if against is not None and (gap := numbers.gap(entry, against)):
                name = f"{entry.column} at {entry.keep_rate}, over {other}"
                theirs = _less(paper, ("attention", entry.keep_rate), (other, entry.keep_rate))
                yield Case(ATTENTION, EVIDENCE[kind], name, entry.column, gap, theirs)


def _within_a_point(grid: Experiment, numbers: Numbers, kind: str) -> Iterator[Case]:
    for entry in numbers.entries:
        full = numbers.get(entry.column, "baseline", None, 1.0)
        gap = numbers.from_reference(entry)
        if entry.kind != kind or full is None or gap is None:
            continue
        saved = 1 - entry.gmacs / full.gmacs
        if SAVED[0] - 0.005 <= saved <= SAVED[1] + 0.005:
            name = f"{entry.column} by {entry.score} at {entry.keep_rate}, plus one point"
            more = Gap(gap.value + 0.01, gap.error, gap.draws + 0.01)
            paper = _paper(grid, entry.column, kind)
            theirs = _less(paper, (entry.score, entry.keep_rate), (None, 1.0))
            theirs = None if theirs is None else theirs + 0.01
            finding = POINT if entry.score == "attention" else POINT_TOO
            yield Case(finding, EVIDENCE[kind], name, entry.column, more, theirs)


def _sensitivity(grid: Experiment, numbers: Numbers, kind: str) -> Iterator[Case]:
    for ast, mae in _rivals(grid, numbers, kind):
        if gap := numbers.gap(ast, mae, from_reference=True):
            task = grid.about.columns[ast.column].task
            name = f"{task} by {ast.score} at {ast.keep_rate}"
            place = ast.score, ast.keep_rate
            losses = [_less(_paper(grid, e.column, kind), place, (None, 1.0)) for e in (ast, mae)]
            one, other = losses
            theirs = None if one is None or other is None else one - other
            finding = SENSITIVE if ast.score == "attention" else SENSITIVE_TOO
            yield Case(finding, EVIDENCE[kind], name, task, gap, theirs)


Place = tuple[str | None, float]  # score and keep-rate


def _paper(grid: Experiment, column: str, kind: str) -> dict[Place, float]:
    """The paper's percentages of a column; it has fine-tuned ones alone."""
    return paper_numbers(grid.about.columns[column].paper) if kind == "tuned" else {}


def _less(paper: dict[Place, float], one: Place, other: Place) -> float | None:
    if one not in paper or other not in paper:
        return None
    return (paper[one] - paper[other]) / 100


def _rivals(grid: Experiment, numbers: Numbers, kind: str) -> Iterator[tuple[Entry, Entry]]:
    """AST's and AudioMAE's figures on one task, at low keep-rates."""
    columns = grid.about.columns
    for ast in numbers.entries:
        own = columns[ast.column]
        if ast.kind != kind or own.model != "AST" or ast.keep_rate not in LOW:
            continue
        for name, column in columns.items():
            mae = numbers.get(name, kind, ast.score, ast.keep_rate)
            if (column.model, column.task) == ("AudioMAE", own.task) and mae is not None:
                yield ast, mae
