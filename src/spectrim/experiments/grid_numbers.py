"""The numbers of a grid's table: pooled over repetitions, with standard errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..metrics.classification import metric
from ..metrics.pooled import Gap, Term, figure_over_clips, figure_over_runs, over_clips, over_runs
from .definition import Cell, Experiment
from .result_folder import ResultFolder


@dataclass(frozen=True)
class Entry:
    """One figure of the table.

    Attributes:
        condition: "baseline", "shelf", "tuned" or "control".
        value: of the last epoch, mean over repetitions, 0 to 1.
        error: standard error of `value` over clips (of all repetitions).
        chosen: of the best epoch, mean over repetitions.
        chosen_on: the split that chose it, "valid" or "test"; "" without fine-tuning.
        early: how many repetitions chose an epoch before the keep rate reached its target. Their
            weights were not trained with the full pruning.
        paired, paired_error: as `value` and `error`, over the repetitions that have a reference;
            over all repetitions if none has one.
        difference, difference_error: from the reference (shelf: the same weights unpruned, of the
            same cell; tuned: the control, in a grid without controls the baseline) on the same
            clips; None where there is none. Its error is over clips and repetitions.
        runs: number of repetitions of `value`; difference_runs: number of those with a difference.
        clips: number of test clips over all repetitions.
    """

    column: str
    condition: str
    score: str | None
    keep_rate: float
    metric: str
    gmacs: float
    value: float
    error: float
    chosen: float
    chosen_on: str
    early: int
    paired: float
    paired_error: float
    difference: float | None
    difference_error: float | None
    runs: int
    difference_runs: int
    clips: int


Key = tuple[str, str, str | None, float]  # column, condition, score, keep rate


class Numbers:
    """All figures that finished cells give, and differences between any two of them.

    `entries`: the figures, in the order of the grid file's columns.

    Accuracy: a clip's share of right answers over repetitions is one draw, so seeds (the same
    clips again) and folds (other clips) are both pooled rightly; the error is over clips, that of
    a difference by Bonett and Price, as `paired_difference`. mAP: mean over repetitions, with a
    bootstrap's error. See `metrics.pooled`.
    """

    def __init__(self, grid: Experiment, results: ResultFolder) -> None:
        self._runs: dict[Key, list[_Run]] = defaultdict(list)
        for cell in grid.cells:
            result = results.result(cell)
            if result is None or cell.column is None:
                continue
            for run in _runs(grid, cell, result, results):
                self._runs[cell.column, cell.condition, run.score, run.keep_rate].append(run)
        columns = list(grid.definition.columns)
        conditions = ("baseline", "control", "shelf", "tuned")
        scores = [None, *grid.definition.scores]
        self._references = {key: gap for key, runs in self._runs.items() if (gap := _gap(runs))}
        self.entries = sorted(
            (_entry(key, runs, self._references.get(key)) for key, runs in self._runs.items()),
            key=lambda e: (columns.index(e.column), conditions.index(e.condition),
                           scores.index(e.score), -e.keep_rate),
        )  # fmt: skip
        self._by_key = {_key(entry): entry for entry in self.entries}

    def get(self, column: str, condition: str, score: str | None, keep_rate: float) -> Entry | None:
        """A figure, if there is one."""
        return self._by_key.get((column, condition, score, keep_rate))

    def from_reference(self, entry: Entry) -> Gap | None:
        """A figure less what it is held against, if that is there: its `difference`."""
        return self._references.get(_key(entry))

    def gap(self, one: Entry, other: Entry) -> Gap | None:
        """How much higher one figure is, on the clips of the repetitions that both have.

        Returns:
            None where they share no repetition.
        """
        pairs = self._pairs(one, other)
        return _difference(one.metric, [(a.paths, a.terms(1) + b.terms(-1)) for a, b in pairs])

    def gap_of_differences(self, one: Entry, other: Entry) -> Gap | None:
        """As `gap`, of the differences of both figures from their references.

        Returns:
            None where they share no repetition that has both references.
        """
        pairs = [
            (a, b)
            for a, b in self._pairs(one, other)
            if a.reference is not None and b.reference is not None
        ]
        runs = [(a.paths, a.terms_of_difference(1) + b.terms_of_difference(-1)) for a, b in pairs]
        return _difference(one.metric, runs)

    def _pairs(self, one: Entry, other: Entry) -> list[tuple[_Run, _Run]]:
        """Repetitions that both figures have, with clips in the same order."""
        others = {run.number: run for run in self._runs[_key(other)]}
        return [
            (run, others[run.number].in_order_of(run.paths))
            for run in self._runs[_key(one)]
            if run.number in others and set(run.paths) == set(others[run.number].paths)
        ]


def _key(entry: Entry) -> Key:
    return entry.column, entry.condition, entry.score, entry.keep_rate


@dataclass(frozen=True)
class _Run:
    """One repetition of a figure: outputs, and those of what it is held against."""

    number: int
    score: str | None
    keep_rate: float
    metric: str
    gmacs: float
    paths: np.ndarray
    truth: np.ndarray
    last: np.ndarray
    best: np.ndarray
    chosen_on: str
    early: bool
    reference: np.ndarray | None

    def in_order_of(self, paths: np.ndarray) -> _Run:
        """The same run with its clips in the order of `paths`."""
        row_of = {path: index for index, path in enumerate(self.paths.tolist())}
        order = [row_of[path] for path in paths.tolist()]
        reference = None if self.reference is None else self.reference[order]
        return replace(self, paths=paths, truth=self.truth[order], last=self.last[order],
                       best=self.best[order], reference=reference)  # fmt: skip

    def terms(self, sign: int) -> list[Term]:
        """The last epoch's outputs as one term of a sum."""
        return [(sign, self.last, self.truth)]

    def terms_of_difference(self, sign: int) -> list[Term]:
        """The last epoch's outputs less those of the reference, which has to be there."""
        assert self.reference is not None
        return [(sign, self.last, self.truth), (-sign, self.reference, self.truth)]


def _runs(
    grid: Experiment, cell: Cell, result: dict[str, Any], results: ResultFolder
) -> list[_Run]:
    with np.load(results.outputs(cell), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    paths, truth, name = arrays["paths"], arrays["truth"], result["metric"]
    if cell.condition == "shelf":
        rows = [row for row in result["rows"] if row["checkpoint"] == "last"]
        return [
            _Run(cell.run, row["score"], row["keep_rate"], name, row["gmacs"], paths, truth,
                 arrays["last"][index], arrays["best"][index], "", False, arrays["last"][0])
            for index, row in enumerate(rows) if (row["score"], row["keep_rate"]) in cell.pairs
        ]  # fmt: skip
    reference = _reference(grid, cell, results, paths)
    rate = cell.keep_rate or 1.0
    best = result["best"]
    early = best.get("keep_rate", rate) > rate + 0.01
    return [_Run(cell.run, cell.score, rate, name, result["gmacs"], paths, truth, arrays["last"],
                 arrays["best"], best["selected_by"], early, reference)]  # fmt: skip


def _reference(
    grid: Experiment, cell: Cell, results: ResultFolder, paths: np.ndarray
) -> np.ndarray | None:
    """Last outputs of what a cell is held against, in the order of `paths`."""
    if cell.condition not in ("tuned", "control"):
        return None
    other = grid.cell(f"{reference_condition(grid, cell.condition)}/{cell.column}/{cell.run}")
    if results.result(other) is None:
        return None
    with np.load(results.outputs(other), allow_pickle=False) as file:
        row_of = {path: index for index, path in enumerate(file["paths"].tolist())}
        if set(row_of) != set(paths.tolist()):
            return None
        return file["last"][[row_of[path] for path in paths.tolist()]]


def reference_condition(grid: Experiment, condition: str) -> str:
    """The condition that a trained one is compared with.

    A missing control is not replaced by the baseline: extra epochs are not a gain of pruning.
    """
    return (
        "control" if condition == "tuned" and "control" in grid.definition.evidence else "baseline"
    )


def _entry(key: Key, runs: Sequence[_Run], gap: Gap | None) -> Entry:
    column, condition, score, rate = key
    name = runs[0].metric
    with_reference = [run for run in runs if run.reference is not None]
    pooled, paired = _figure(runs), _figure(with_reference or runs)
    if name == "accuracy":
        chosen = np.mean([_right(run.best, run.truth).mean() for run in runs])
    else:
        chosen = np.mean([metric(name, run.best.astype(float), run.truth) for run in runs])
    return Entry(
        column, condition, score, rate, name, runs[0].gmacs, pooled.value, pooled.error,
        float(chosen), runs[0].chosen_on, sum(run.early for run in runs),
        paired.value, paired.error,
        None if gap is None else gap.value, None if gap is None else gap.error,
        len(runs), len(with_reference),
        len({path for run in runs for path in run.paths.tolist()}),
    )  # fmt: skip


def _figure(runs: Sequence[_Run]) -> Gap:
    """The mean over repetitions."""
    if runs[0].metric == "accuracy":
        return figure_over_clips([(run.paths, _right(run.last, run.truth)) for run in runs])
    return figure_over_runs([(run.paths, run.terms(1)) for run in runs])


def _gap(runs: Sequence[_Run]) -> Gap | None:
    """The mean difference from the reference, of the repetitions that have one."""
    paired = [run for run in runs if run.reference is not None]
    return _difference(runs[0].metric, [(run.paths, run.terms_of_difference(1)) for run in paired])


def _difference(metric: str, runs: Sequence[tuple[np.ndarray, list[Term]]]) -> Gap | None:
    """A sum of terms, pooled over repetitions; None where there is no repetition."""
    if not runs:
        return None
    if metric != "accuracy":
        return over_runs(runs)
    return over_clips(
        [
            (paths, np.sum([sign * _right(outputs, truth) for sign, outputs, truth in terms], 0))
            for paths, terms in runs
        ]
    )


def _right(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth[np.arange(len(truth)), logits.argmax(1)].astype(float)
