"""The numbers of a grid's table: pooled over repetitions, with standard errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..evaluation.metrics import Z95, metric, paired_difference
from .grid import Cell, Grid
from .grid_folder import GridFolder


@dataclass(frozen=True)
class Entry:
    """One figure of the table.

    Attributes:
        kind: "baseline", "shelf", "tuned" or "control".
        value: of the last epoch, mean over repetitions, 0 to 1.
        error: standard error of `value` over clips (of all repetitions).
        chosen: of the epoch chosen on validation, mean over repetitions.
        difference, difference_error: from the reference (shelf: the same weights unpruned, of the
            same cell; tuned: the control, in a grid without controls the baseline) on the same
            clips; None where there is none.
        runs: how many repetitions stand behind it.
        clips: how many test clips, over all of them.
    """

    column: str
    kind: str
    score: str | None
    keep_rate: float
    metric: str
    gmacs: float
    value: float
    error: float
    chosen: float
    difference: float | None
    difference_error: float | None
    runs: int
    clips: int


Key = tuple[str, str, str | None, float]  # column, kind, score, keep-rate


class Numbers:
    """All figures that finished cells give, and differences between any two of them.

    `entries`: the figures, in the order of the grid file's columns.

    Accuracy: a clip's share of right answers over repetitions is one draw, so seeds (the same
    clips again) and folds (other clips) are both pooled rightly; the error is over clips, that of
    a difference by Bonett and Price, as `paired_difference`. mAP: mean over repetitions, with the
    bootstrap's error of each.
    """

    def __init__(self, grid: Grid, results: GridFolder) -> None:
        self._runs: dict[Key, list[_Run]] = defaultdict(list)
        for cell in grid.cells:
            result = results.result(cell)
            if result is None or cell.column is None:
                continue
            for run in _runs(grid, cell, result, results):
                self._runs[cell.column, cell.kind, run.score, run.keep_rate].append(run)
        columns = list(grid.about.columns)
        kinds = ("baseline", "control", "shelf", "tuned")
        scores = [None, *grid.about.scores]
        self.entries = sorted(
            (_entry(key, runs) for key, runs in self._runs.items()),
            key=lambda e: (columns.index(e.column), kinds.index(e.kind), scores.index(e.score),
                           -e.keep_rate),
        )  # fmt: skip
        self._by_key = {_key(entry): entry for entry in self.entries}

    def get(self, column: str, kind: str, score: str | None, keep_rate: float) -> Entry | None:
        """A figure, if there is one."""
        return self._by_key.get((column, kind, score, keep_rate))

    def gap(
        self, one: Entry, other: Entry, from_reference: bool = False
    ) -> tuple[float, float] | None:
        """How much higher one figure is than another, and the standard error of that.

        On the same clips of the repetitions that both have.

        Args:
            from_reference: not the figures, but their own differences from what they are held
                against. Of mAP these are joined as if independent, which errs to the wide side.

        Returns:
            None where they share no repetition, or one has nothing that it is held against.
        """
        theirs = {run.number: run for run in self._runs[_key(other)]}
        pairs = [
            (run, theirs[run.number].in_order_of(run.paths))
            for run in self._runs[_key(one)]
            if run.number in theirs and set(run.paths) == set(theirs[run.number].paths)
        ]
        if from_reference:
            pairs = [pair for pair in pairs if all(run.reference is not None for run in pair)]
        if not pairs:
            return None
        if one.metric == "accuracy":
            return _gap_over_clips(
                [(a.paths, a.right(from_reference) - b.right(from_reference)) for a, b in pairs]
            )
        if not from_reference:
            return _over_runs([(a.last, b.last, a.truth) for a, b in pairs])
        (gap, error), (less, more) = (
            _over_runs([(r.last, r.reference, r.truth) for r in runs if r.reference is not None])
            for runs in zip(*pairs, strict=True)
        )
        return gap - less, float(np.hypot(error, more))


def _key(entry: Entry) -> Key:
    return entry.column, entry.kind, entry.score, entry.keep_rate


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
    reference: np.ndarray | None

    def in_order_of(self, paths: np.ndarray) -> _Run:
        """The same with clips in another order."""
        place = {path: at for at, path in enumerate(self.paths.tolist())}
        order = [place[path] for path in paths.tolist()]
        reference = None if self.reference is None else self.reference[order]
        return replace(self, paths=paths, truth=self.truth[order], last=self.last[order],
                       best=self.best[order], reference=reference)  # fmt: skip

    def right(self, from_reference: bool) -> np.ndarray:
        """(clips,) 1 where the answer is right; less the same of the reference."""
        own = _right(self.last, self.truth)
        if not from_reference or self.reference is None:
            return own
        return own - _right(self.reference, self.truth)


def _runs(grid: Grid, cell: Cell, result: dict[str, Any], results: GridFolder) -> list[_Run]:
    with np.load(results.outputs(cell), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    paths, truth, name = arrays["paths"], arrays["truth"], result["metric"]
    if cell.kind == "shelf":
        rows = [row for row in result["rows"] if row["checkpoint"] == "last"]
        return [
            _Run(cell.run, row["score"], row["keep_rate"], name, row["gmacs"], paths, truth,
                 arrays["last"][at], arrays["best"][at], arrays["last"][0])
            for at, row in enumerate(rows) if row["score"] is not None
        ]  # fmt: skip
    reference = _reference(grid, cell, results, paths)
    rate = cell.keep_rate or 1.0
    return [_Run(cell.run, cell.score, rate, name, result["gmacs"], paths, truth, arrays["last"],
                 arrays["best"], reference)]  # fmt: skip


def _reference(grid: Grid, cell: Cell, results: GridFolder, paths: np.ndarray) -> np.ndarray | None:
    """Last outputs of what a cell is held against, in the order of `paths`."""
    if cell.kind not in ("tuned", "control"):
        return None
    other = grid.cell(f"{reference_of(grid, cell.kind)}/{cell.column}/{cell.run}")
    if results.result(other) is None:
        return None
    with np.load(results.outputs(other), allow_pickle=False) as file:
        place = {path: at for at, path in enumerate(file["paths"].tolist())}
        if set(place) != set(paths.tolist()):
            return None
        return file["last"][[place[path] for path in paths.tolist()]]


def reference_of(grid: Grid, kind: str) -> str:
    """The kind of cell that a trained one is held against.

    Extra epochs are no gain of pruning, so that a missing control is not replaced.
    """
    return "control" if kind == "tuned" and "control" in grid.about.evidence else "baseline"


def _entry(key: Key, runs: Sequence[_Run]) -> Entry:
    column, kind, score, rate = key
    name = runs[0].metric
    held = [(run, run.reference) for run in runs if run.reference is not None]
    gap: tuple[float, float] | None = None
    if name == "accuracy":
        value, error = _over_clips([(run.paths, _right(run.last, run.truth)) for run in runs])
        if held:
            gap = _gap_over_clips(
                [(r.paths, _right(r.last, r.truth) - _right(base, r.truth)) for r, base in held]
            )
        chosen = np.mean([_right(run.best, run.truth).mean() for run in runs])
    else:
        flat = [(run.last, np.zeros_like(run.last), run.truth) for run in runs]
        error = _over_runs(flat)[1]
        value = float(np.mean([metric(name, run.last.astype(float), run.truth) for run in runs]))
        if held:
            gap = _over_runs([(run.last, base, run.truth) for run, base in held])
        chosen = np.mean([metric(name, run.best.astype(float), run.truth) for run in runs])
    difference, spread = gap or (None, None)
    return Entry(
        column, kind, score, rate, name, runs[0].gmacs, value, error, float(chosen), difference,
        spread, len(runs), len({path for run in runs for path in run.paths.tolist()}),
    )  # fmt: skip


def _right(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth[np.arange(len(truth)), logits.argmax(1)].astype(float)


Parts = Sequence[tuple[np.ndarray, np.ndarray]]  # (clips,) paths and values of each repetition


def _over_clips(parts: Parts) -> tuple[float, float]:
    """Mean and standard error over clips."""
    values = _by_clip(parts)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return float(values.mean()), float(error)


def _gap_over_clips(parts: Parts) -> tuple[float, float]:
    """Mean of differences and its standard error over clips, one clip won and one lost added.

    Without these (Bonett and Price, doi 10.3102/1076998611411915) four clips that changed of 300,
    all one way, would pass for a trend, and none that changed for certainty.
    """
    values = _by_clip(parts)
    added = np.append(values, (1.0, -1.0))
    return float(values.mean()), float(added.std() / len(added) ** 0.5)


def _by_clip(parts: Parts) -> np.ndarray:
    """(clips,) each clip's mean over its repetitions."""
    clips: dict[str, list[float]] = defaultdict(list)
    for paths, values in parts:
        for path, value in zip(paths.tolist(), values.tolist(), strict=True):
            clips[path].append(value)
    return np.array([np.mean(values) for values in clips.values()])


def _over_runs(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Mean of differences of mAP over repetitions, and its error from each one's bootstrap."""
    found = [paired_difference("mAP", a.astype(float), b.astype(float), t) for a, b, t in parts]
    errors = np.array([(each.high - each.low) / (2 * Z95) for each in found])
    value = float(np.mean([each.value for each in found]))
    return value, float(np.sqrt((errors**2).sum()) / len(errors))
