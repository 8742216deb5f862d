"""Findings of the paper and the one rule by which our numbers support or contradict them.

A finding has cases (a model on data, or a pair of them). A case is a difference that is positive
where the finding holds, with its standard error. A difference of at most two standard errors in
either direction decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..common.text import with_error
from ..metrics.pooled import Gap
from ..metrics.significance import SIGNIFICANCE_LEVEL, holm, p_value

Row = dict[str, Any]
CLEAR = 2.0  # a larger difference, in standard errors, decides a case
MIN_TRAININGS = 2  # with fewer repetitions, a case about trainings is "cannot tell"
SHOWS, CONTRADICTS, CANNOT_TELL = VERDICTS = ("shows", "contradicts", "cannot tell")
COUNTERPART = {"speech": "SPC-2", "general": "ESC-50"}  # whose published numbers stand beside ours


def verdict(difference: float | None, error: float | None, corrected_p: float | None = None) -> str:
    """ "shows" above two standard errors, "contradicts" below minus two, else "cannot tell".

    If `corrected_p` is given, it must also be below `SIGNIFICANCE_LEVEL`.
    """
    if difference is None or error is None or not math.isfinite(error):
        return CANNOT_TELL
    if corrected_p is not None and corrected_p >= SIGNIFICANCE_LEVEL:
        return CANNOT_TELL
    if abs(difference) <= CLEAR * error or difference == 0:  # no error: a tie decides nothing
        return CANNOT_TELL
    return SHOWS if difference > 0 else CONTRADICTS


@dataclass(frozen=True)
class Case:
    """One test of a finding.

    Attributes:
        name: the model and the data.
        ours, paper: what we and the paper measured, in words.
        difference: positive where the finding holds; error: its standard error.
        group: of the cases that are judged together, or that share trainings.
        paper_difference: the same difference of the paper's numbers; None where it has none.
        draws: resampled differences, from which the error of a mean of cases follows.
        trainings: number of repetitions that the difference is averaged over. With a single one,
            the verdict is "cannot tell". None: the case is about given models, not about trainings.
        freedom: degrees of freedom of `error`, see `Gap`.
        corrected_p: p-value, corrected for the number of cases of its finding, see
            `with_corrected_p_values`; None: not corrected, or a single training.
        equivalence_p: p-value of the test that a change lies between -1 and +1 point, not
            corrected; None for findings that are not about one point.
    """

    name: str
    ours: str
    paper: str
    difference: float | None
    error: float | None
    group: str = ""
    paper_difference: float | None = None
    draws: np.ndarray | None = field(default=None, repr=False, compare=False)
    trainings: int | None = None
    freedom: float = math.inf
    corrected_p: float | None = None
    equivalence_p: float | None = None

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        is_single = self.trainings is not None and self.trainings < MIN_TRAININGS
        if is_single:
            return CANNOT_TELL
        return verdict(self.difference, self.error, self.corrected_p)

    @property
    def gap(self) -> Gap:
        """The difference with its draws; only a case made by `case_of` has it."""
        assert self.difference is not None and self.error is not None and self.draws is not None
        return Gap(self.difference, self.error, self.draws, self.trainings, self.freedom)

    def to_dict(self) -> Row:
        """Plain data."""
        keys = ("name", "ours", "paper", "difference", "error", "group", "verdict")
        return {key: getattr(self, key) for key in keys}


def case_of(name: str, group: str, gap: Gap, paper_difference: float | None) -> Case:
    """A case of a difference in shares (0 to 1), written in points."""
    ours = with_error(gap.value, gap.error, 100, 1, "+")
    paper = "" if paper_difference is None else with_error(paper_difference, None, 100, 1, "+")
    return Case(name, ours, paper, gap.value, gap.error, group, paper_difference, gap.draws,
                gap.trainings, gap.freedom)  # fmt: skip


def with_corrected_p_values(cases: Sequence[Case]) -> list[Case]:
    """The cases with p-values that Holm's method corrects for the number of cases.

    Cases of a single training are "cannot tell" in any case, so they are not counted as tests.
    """
    tests = [case for case in cases if (case.trainings or 0) >= MIN_TRAININGS]
    corrected = holm([p_value(case.gap.value, case.gap.error, case.gap.freedom) for case in tests])
    p_of = {id(case): p for case, p in zip(tests, corrected, strict=True)}
    return [replace(case, corrected_p=p_of.get(id(case))) for case in cases]


@dataclass(frozen=True)
class Finding:
    """A claim of the paper.

    Attributes:
        title: the claim.
        test: how it is tested.
        cases: its tests.
        missing: why there is no case, for a finding that has none.
        evidence: which of our runs stand behind the cases, such as "fine-tuned".
    """

    title: str
    test: str
    cases: list[Case]
    missing: str
    evidence: str = ""

    @property
    def counts(self) -> Counter[str]:
        """How many cases have each verdict."""
        return Counter(case.verdict for case in self.cases)

    @property
    def verdict(self) -> str:
        """The verdicts of the cases of each group together, in words."""
        if not self.cases:
            return f"cannot be tested: {self.missing}"
        groups: dict[str, list[str]] = {}
        for case in self.cases:
            groups.setdefault(case.group, []).append(case.verdict)
        return "; ".join(
            (f"{group}: " if group else "") + together(verdicts)
            for group, verdicts in groups.items()
        )

    def record(self) -> Row:
        """Plain data."""
        cases = [case.to_dict() for case in self.cases]
        return {"finding": self.title, "verdict": self.verdict, "cases": cases}


def together(verdicts: Sequence[str]) -> str:
    """Verdicts of cases in one, such as "shows in 1, cannot tell in 1 (of 2)"."""
    counts = {word: verdicts.count(word) for word in VERDICTS if word in verdicts}
    if len(counts) == 1:
        return verdicts[0] + f" (all {len(verdicts)})" * (len(verdicts) > 1)
    is_mixed = SHOWS in counts and CONTRADICTS in counts
    words = ", ".join(f"{word} in {count}" for word, count in counts.items())
    return ("mixed: " if is_mixed else "") + f"{words} (of {len(verdicts)})"


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

    def domain(self, data: str) -> str:
        """Speech or general."""
        return "speech" if data in self.speech else "general"

    def contrasts(self) -> list[Row]:
        """Losses of each model on each data set, without models that only guess."""
        idle = {(row["model"], row["data"]) for row in self.guessing()}
        rows = self.ablation["contrasts"]
        return [row for row in rows if (row["model"], row["data"]) not in idle]

    def guessing(self) -> list[Row]:
        """Unpruned rows not clearly above chance: such a model has nothing to lose."""
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
    value = entry["value"]
    return with_error(None if value is None else -value, entry["error"], 100, 1, "+")


def points(entry: Mapping[str, float | None]) -> str:
    """A share as points with its error."""
    return with_error(entry["value"], entry["error"], 100, 1)


def join(errors: Sequence[float | None], combine: Callable[[list[float]], float]) -> float | None:
    """Errors joined; None if one is unknown."""
    known = [error for error in errors if error is not None]
    return combine(known) if len(known) == len(errors) else None


independent = partial(join, combine=lambda known: math.hypot(*known))
at_worst = partial(join, combine=sum)  # whatever the correlation
