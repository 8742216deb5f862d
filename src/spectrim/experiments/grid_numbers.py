"""The numbers of a grid's table: pooled over repetitions, with standard errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..metrics.classification import metric
from ..metrics.pooled import Gap, Term, figure_over_clips, figure_over_runs, over_clips, over_runs
from .cell_outputs import ClipOutputs, read_outputs
from .cells import Cell, condition_order, reference_condition
from .definition import Experiment
from .result_folder import ResultFolder


@dataclass(frozen=True)
class Entry:
    """One figure of the table.

    Attributes:
        condition: "baseline", "control", "untuned", "tuned", "elastic", or an ablation of elastic
            training such as "elastic without distillation".
        value: of the last epoch, mean over repetitions, 0 to 1.
        error: standard error of `value` over clips (of all repetitions).
        chosen: of the best epoch, mean over repetitions; None where it was not evaluated.
        chosen_on: the split that chose it, "valid" or "test"; "" where there is none.
        early: how many repetitions chose an epoch before the keep rate reached its target. Their
            weights were not trained with the full pruning.
        difference, difference_error: from the reference on the same clips; None if there is none.
            The error is over clips and repetitions. Reference of "untuned": the same weights
            unpruned, of the same cell; of "tuned" and "elastic": the control, or the baseline if
            the grid has no controls; of "control": the baseline.
        detectable: true difference whose estimate exceeds two standard errors with a probability
            of 80 %, see `DETECTABLE`; None if there is no difference.
        runs: numbers of the repetitions, from 0. All figures of a row (a column, condition and
            score) use the same repetitions, see `_of_complete_repetitions`.
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
    chosen: float | None
    chosen_on: str
    early: int
    difference: float | None
    difference_error: float | None
    detectable: float | None
    runs: tuple[int, ...]
    clips: int


Key = tuple[str, str, str | None, float]  # column, condition, score, keep rate

# Power of 80 %: an estimate exceeds two standard errors with this probability if the true
# difference lies 0.84 standard errors higher (0.84: the 80 % quantile of the normal distribution).
# Holm's correction for several cases is not included.
DETECTABLE = 2 + 0.84  # standard errors


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
                self._runs[cell.column, cell.row, run.score, run.keep_rate].append(run)
        columns = list(grid.definition.columns)
        conditions = condition_order(grid.definition)
        scores = [None, *grid.definition.scores]
        in_table = _of_complete_repetitions(self._runs)
        self._references = {key: gap for key, runs in self._runs.items() if (gap := _gap(runs))}
        self.entries = sorted(
            (_entry(key, runs) for key, runs in in_table.items()),
            key=lambda e: (columns.index(e.column), conditions.index(e.condition),
                           scores.index(e.score), -e.keep_rate),
        )  # fmt: skip
        self._by_key = {_key(entry): entry for entry in self.entries}

    def get(self, column: str, condition: str, score: str | None, keep_rate: float) -> Entry | None:
        """A figure, if there is one."""
        return self._by_key.get((column, condition, score, keep_rate))

    def from_reference(self, entry: Entry) -> Gap | None:
        """A figure less its reference, over all repetitions that have one; None if none has."""
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

    def agreement(self, one: Entry, other: Entry) -> float | None:
        """Share of clips with the same top class, over the repetitions that both figures have.

        Returns:
            None if they share no repetition.
        """
        pairs = self._pairs(one, other)
        if not pairs:
            return None
        return float(np.concatenate([a.last.top == b.last.top for a, b in pairs]).mean())

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
    """One repetition of a figure: outputs, and those of its reference."""

    number: int
    score: str | None
    keep_rate: float
    metric: str
    gmacs: float
    paths: np.ndarray
    truth: np.ndarray
    last: ClipOutputs
    best: ClipOutputs | None
    chosen_on: str
    early: bool
    reference: ClipOutputs | None

    def in_order_of(self, paths: np.ndarray) -> _Run:
        """The same run with its clips in the order of `paths`."""
        order = _order(self.paths, paths)
        best, reference = (
            None if outputs is None else outputs.reordered(order)
            for outputs in (self.best, self.reference)
        )
        return replace(self, paths=paths, truth=self.truth[order],
                       last=self.last.reordered(order), best=best, reference=reference)  # fmt: skip

    def terms(self, sign: int) -> list[_Term]:
        """The last epoch's outputs as one term of a sum."""
        return [(sign, self.last, self.truth)]

    def terms_of_difference(self, sign: int) -> list[_Term]:
        """The last epoch's outputs less those of the reference, which has to be there."""
        assert self.reference is not None
        return [(sign, self.last, self.truth), (-sign, self.reference, self.truth)]


_Term = tuple[int, ClipOutputs, np.ndarray]  # a sign, outputs and truth


def _order(paths: np.ndarray, requested: np.ndarray) -> list[int]:
    row_of = {path: index for index, path in enumerate(paths.tolist())}
    return [row_of[path] for path in requested.tolist()]


def _of_complete_repetitions(runs: dict[Key, list[_Run]]) -> dict[Key, list[_Run]]:
    """The runs of each key, of the repetitions that all keep rates of its row have.

    If any run of a row has a reference, runs without one are left out. Keep rates are added in the
    order of their number of repetitions. A keep rate that shares no repetition with those added
    before is left out of the table.

    Example: keep rate 0.7 has repetitions 0, 1 and 2, keep rate 0.6 has 0 and 1, and 0.5 has only
    2. The row uses repetitions 0 and 1, and has no figure at 0.5.
    """
    rows: dict[tuple[str, str, str | None], list[Key]] = defaultdict(list)
    for key in runs:
        rows[key[:3]].append(key)
    chosen: dict[Key, list[_Run]] = {}
    for keys in rows.values():
        has_reference = any(run.reference is not None for key in keys for run in runs[key])
        usable = {
            key: {
                run.number for run in runs[key]
                if run.reference is not None or not has_reference
            }
            for key in keys
        }  # fmt: skip
        common: set[int] | None = None
        used: list[Key] = []
        for key in sorted(keys, key=lambda key: -len(usable[key])):
            shared = usable[key] if common is None else common & usable[key]
            if shared:
                common, used = shared, [*used, key]
        for key in used:
            chosen[key] = [run for run in runs[key] if run.number in (common or ())]
    return chosen


def _runs(
    grid: Experiment, cell: Cell, result: dict[str, Any], results: ResultFolder
) -> list[_Run]:
    with np.load(results.outputs(cell), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    paths, truth, name = arrays["paths"], arrays["truth"], result["metric"]
    reference = _reference(grid, cell, results, paths)
    if "rows" in result:
        rows = [row for row in result["rows"] if row["checkpoint"] == "last"]
        outputs = [read_outputs(arrays, "last", name, index) for index in range(len(rows))]
        # The unpruned row of a "untuned" cell repeats its baseline, so it is not shown.
        shown = {(None, 1.0), *cell.pairs} if cell.condition == "elastic" else {*cell.pairs}
        return [
            _Run(cell.run, row["score"], row["keep_rate"], name, row["gmacs"], paths, truth,
                 last, None, "", False, outputs[0] if cell.condition == "untuned" else reference)
            for row, last in zip(rows, outputs, strict=True)
            if last is not None and (row["score"], row["keep_rate"]) in shown
        ]  # fmt: skip
    rate = cell.keep_rate or 1.0
    best = result["best"]
    early = best.get("keep_rate", rate) > rate + 0.01
    last, chosen = (read_outputs(arrays, checkpoint, name) for checkpoint in ("last", "best"))
    assert last is not None
    return [_Run(cell.run, cell.score, rate, name, result["gmacs"], paths, truth, last,
                 chosen, best["selected_by"], early, reference)]  # fmt: skip


def _reference(
    grid: Experiment, cell: Cell, results: ResultFolder, paths: np.ndarray
) -> ClipOutputs | None:
    """Last outputs of a trained cell's reference, in the order of `paths`."""
    if cell.condition not in ("tuned", "control", "elastic"):
        return None
    assert cell.column is not None
    condition = reference_condition(grid.definition, cell.column, cell.condition)
    other = grid.cell(f"{condition}/{cell.column}/{cell.run}")
    result = results.result(other)
    if result is None:
        return None
    with np.load(results.outputs(other), allow_pickle=False) as file:
        if set(file["paths"].tolist()) != set(paths.tolist()):
            return None
        arrays = {name: file[name] for name in file.files}
    outputs = read_outputs(arrays, "last", result["metric"])
    return None if outputs is None else outputs.reordered(_order(arrays["paths"], paths))


def _entry(key: Key, runs: Sequence[_Run]) -> Entry:
    column, condition, score, rate = key
    name = runs[0].metric
    figure, gap = _figure(runs), _gap(runs)
    chosen = [
        float(run.best.is_right.mean())
        if run.best.logits is None
        else metric(name, run.best.logits.astype(float), run.truth)
        for run in runs
        if run.best is not None
    ]
    return Entry(
        column, condition, score, rate, name, runs[0].gmacs, figure.value, figure.error,
        float(np.mean(chosen)) if chosen else None, runs[0].chosen_on,
        sum(run.early for run in runs),
        None if gap is None else gap.value, None if gap is None else gap.error,
        None if gap is None else DETECTABLE * gap.error,
        tuple(sorted(run.number for run in runs)),
        len({path for run in runs for path in run.paths.tolist()}),
    )  # fmt: skip


def _figure(runs: Sequence[_Run]) -> Gap:
    """The mean over repetitions."""
    if runs[0].metric == "accuracy":
        return figure_over_clips([(run.paths, run.last.is_right) for run in runs])
    return figure_over_runs([(run.paths, _terms_of_map(run.terms(1))) for run in runs])


def _gap(runs: Sequence[_Run]) -> Gap | None:
    """The mean difference from the reference, of the repetitions that have one."""
    paired = [run for run in runs if run.reference is not None]
    return _difference(runs[0].metric, [(run.paths, run.terms_of_difference(1)) for run in paired])


def _difference(metric: str, runs: Sequence[tuple[np.ndarray, list[_Term]]]) -> Gap | None:
    """A sum of terms, pooled over repetitions; None where there is no repetition."""
    if not runs:
        return None
    if metric != "accuracy":
        gap = over_runs([(paths, _terms_of_map(terms)) for paths, terms in runs])
    else:
        gap = over_clips(
            [
                (paths, np.sum([sign * outputs.is_right for sign, outputs, _ in terms], 0))
                for paths, terms in runs
            ]
        )
    return replace(gap, trainings=len(runs))


def _terms_of_map(terms: Sequence[_Term]) -> list[Term]:
    return [
        (sign, outputs.logits, truth)
        for sign, outputs, truth in terms
        if outputs.logits is not None
    ]
