"""What a finding of the analysis is, and what it is computed from; see analysis_page.

A finding is a list of cases (a model on data, or a pair of them). A case is a number that is above
zero where the finding shows, with its standard error; nothing is called under two of those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from typing import Any

Row = dict[str, Any]
CLEAR = 2.0  # standard errors from which on a difference is called one
COUNTERPART = {"speech": "SPC-2", "general": "ESC-50"}  # whose published numbers stand beside ours


@dataclass(frozen=True)
class Case:
    """One test of a finding: what we and the paper measured, and what must be above zero."""

    name: str
    ours: str
    paper: str
    difference: float | None
    error: float | None

    @property
    def verdict(self) -> str:
        """Shows, does not, or cannot tell."""
        if self.difference is None or self.error is None or not math.isfinite(self.error):
            return "cannot tell"
        if abs(self.difference) <= CLEAR * self.error or self.difference == 0:
            return "cannot tell"
        return "shows" if self.difference > 0 else "does not: the opposite"


@dataclass(frozen=True)
class Finding:
    """A claim, how it is tested, its cases, and why there is none where there is none."""

    title: str
    test: str
    cases: list[Case]
    missing: str

    @property
    def verdict(self) -> str:
        """Of all cases together, in words."""
        said = [case.verdict for case in self.cases]
        yes, no = said.count("shows"), said.count("does not: the opposite")
        count = len(said)
        if not count:
            return f"cannot be tested: {self.missing}"
        if not yes and not no:
            return "cannot tell"
        if yes == count:
            return "shows" + f" (all {count})" * (count > 1)
        if no == count:
            return "does not: the opposite" + f" (all {count})" * (count > 1)
        parts = [f"shows in {yes} of {count}"] * bool(yes)
        parts += [f"the opposite in {no} of {count}"] * bool(no)
        rest = [f"the rest cannot be told ({count - yes - no})"] * (yes + no < count)
        return ("mixed: " if yes and no else "") + ", ".join([*parts, *rest])

    def record(self) -> Row:
        """Plain data."""
        cases = [asdict(case) | {"verdict": case.verdict} for case in self.cases]
        return {"finding": self.title, "verdict": self.verdict, "cases": cases}


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
        """Losses of each model on each data set."""
        return self.ablation["contrasts"]


def published(name: str) -> Row:
    """A file of the paper's numbers, from the package."""
    file = resources.files("spectrim.assets") / "paper" / name
    return json.loads(file.read_text(encoding="utf-8"))


def published_loss(family: str, data: str, which: str) -> float | None:
    """Points lost without L or H, mean over the blocks of Table IV."""
    table = published("table4.json")
    (base,) = [
        r["result"] for r in table["unpruned"] if (r["model"], r["dataset"]) == (family, data)
    ]
    values = [
        row["result"]
        for row in table["rows"]
        if (row["model"], row["dataset"]) == (family, data) and row["dropped"].startswith(which)
    ]
    return base - sum(values) / len(values)


def change(entry: Mapping[str, float | None]) -> str:
    """A loss as points gained or lost, such as "-3.1 ±1.0"."""
    if entry["value"] is None:
        return "-"
    error = "" if entry["error"] is None else f" ±{entry['error'] * 100:.1f}"
    return f"{-entry['value'] * 100:+.1f}{error}"


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
