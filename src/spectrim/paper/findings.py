"""What a finding of the analysis is, and what it is computed from; see analysis_page.

A finding is a list of cases (a model on data, or a pair of them). A case is a number that is above
zero where the finding shows, with its standard error; nothing is called under two of those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

Row = dict[str, Any]
CLEAR = 2.0  # standard errors from which on a difference is called one
COUNTERPART = {"speech": "SPC-2", "general": "ESC-50"}  # whose published numbers stand beside ours


@dataclass(frozen=True)
class Case:
    """One test of a finding: what we and the paper measured, and what must be above zero.

    `group`: cases of one are judged together, apart from the others of the finding.
    """

    name: str
    ours: str
    paper: str
    difference: float | None
    error: float | None
    group: str = ""

    @property
    def verdict(self) -> str:
        """Shows, does not, or cannot tell."""
        if self.difference is None or self.error is None or not math.isfinite(self.error):
            return "cannot tell"
        if abs(self.difference) <= CLEAR * self.error or self.difference == 0:
            return "cannot tell"
        return "shows" if self.difference > 0 else "does not"


@dataclass(frozen=True)
class Finding:
    """A claim, how it is tested, its cases, and why there is none where there is none."""

    title: str
    test: str
    cases: list[Case]
    missing: str

    @property
    def verdict(self) -> str:
        """Of the cases of each group together, in words."""
        if not self.cases:
            return f"cannot be tested: {self.missing}"
        groups = list(dict.fromkeys(case.group for case in self.cases))
        parts = [
            (f"{group}: " if group else "")
            + together([case.verdict for case in self.cases if case.group == group])
            for group in groups
        ]
        return "; ".join(parts)

    def record(self) -> Row:
        """Plain data."""
        cases = [asdict(case) | {"verdict": case.verdict} for case in self.cases]
        return {"finding": self.title, "verdict": self.verdict, "cases": cases}


def together(said: Sequence[str]) -> str:
    """Verdicts of cases in one."""
    count, yes, no = len(said), said.count("shows"), said.count("does not")
    for number, word in ((yes, "shows"), (no, "does not"), (count - yes - no, "cannot tell")):
        if number == count:
            return word + f" (all {count})" * (count > 1)
    parts = [f"shows in {yes}"] * bool(yes) + [f"does not in {no}"] * bool(no)
    parts += [f"cannot be told in {count - yes - no}"] * (yes + no < count)
    return ("mixed: " if yes and no else "") + f"{', '.join(parts)} (of {count})"


@dataclass(frozen=True)
class Material:
    """What the findings are computed from.

    Attributes:
        analysis, ablation: results.json and ablation.json.
        speech: names of data that are speech; all others are general audio.
    """

    analysis: Row
    ablation: Row
    speech: frozenset[str]

    def kind(self, data: str) -> str:
        """Speech or general."""
        return "speech" if data in self.speech else "general"

    def contrasts(self) -> list[Row]:
        """Losses of each model on each data set, but of those that only guess."""
        idle = {(row["model"], row["data"]) for row in self.guessing()}
        rows = self.ablation["contrasts"]
        return [row for row in rows if (row["model"], row["data"]) not in idle]

    def guessing(self) -> list[Row]:
        """Unpruned rows not clearly above chance: who knows nothing has nothing to lose."""
        return [
            row
            for row in self.ablation["rows"]
            if row["dropped"] is None
            and row["metric"] == "accuracy"
            and row["value"] <= 1 / row["classes"] + CLEAR * (row["error"] or 0)
        ]

    def dropped(self, row: Row, which: str) -> str:
        """The share of patches that a cut takes from a model and data, in percent."""
        shares = [
            one["patches_dropped"]
            for one in self.ablation["rows"]
            if (one["model"], one["data"], one["dropped"]) == (row["model"], row["data"], which)
        ]
        return f"{shares[0]:.0%}"


def change(entry: Mapping[str, float | None]) -> str:
    """A loss as points gained or lost, such as "-3.1 ±1.0"."""
    if entry["value"] is None:
        return "-"
    error = "" if entry["error"] is None else f" ±{entry['error'] * 100:.1f}"
    return f"{round(-entry['value'] * 100, 1) + 0.0:+.1f}{error}"  # never -0.0


def points(entry: Mapping[str, float | None]) -> str:
    """A share as points with its error."""
    return number(entry["value"], entry["error"], 100, 1)


def number(value: float | None, error: float | None, scale: float = 1, digits: int = 2) -> str:
    """Such as "0.52 ±0.01"."""
    if value is None:
        return "-"
    text = f"{value * scale:.{digits}f}"
    return text if error is None else f"{text} ±{error * scale:.{digits}f}"


def join(errors: Sequence[float | None], how: Callable[[list[float]], float]) -> float | None:
    """Errors joined; None if one is unknown."""
    known = [error for error in errors if error is not None]
    return how(known) if len(known) == len(errors) else None


independent = partial(join, how=lambda known: math.hypot(*known))
at_worst = partial(join, how=sum)  # whatever the correlation
