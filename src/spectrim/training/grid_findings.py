"""The paper's findings that a grid's table can speak to: shows, does not show, cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from .grid import Grid
from .grid_numbers import Entry

LOW = (0.5, 0.4)  # low keep-rates
SAVED = (0.30, 0.40)  # share of MACs saved in the paper's second finding


def findings(grid: Grid, found: Sequence[Entry]) -> list[str]:
    """One sentence a finding and a kind of evidence, with its figures."""
    texts = []
    for kind, name in (("tuned", "fine-tuned"), ("shelf", "off the shelf")):
        texts.append(f"**Attention at least as good as the others at keep-rates 0.5 and 0.4**, "
                     f"{name}: {_attention(found, kind)}")  # fmt: skip
        texts.append(f"**Within one point of the baseline at 30 to 40 % fewer MACs**, {name}: "
                     f"{_within_a_point(found, kind)}")  # fmt: skip
        texts.append(f"**AudioMAE more sensitive to low keep-rates than AST**, {name}: "
                     f"{_sensitivity(grid, found, kind)}")  # fmt: skip
    return texts


def verdict(difference: float, error: float) -> str:
    """ "shows" a positive difference of two standard errors, "does not show" a negative one."""
    if difference >= 2 * error and difference > 0:
        return "shows"
    return "does not show" if difference <= -2 * error and difference < 0 else "cannot tell"


def _attention(found: Sequence[Entry], kind: str) -> str:
    by = _by(found, kind)
    parts = []
    for (column, score, rate), entry in by.items():
        other_names = ("intensity", "variation")
        if score != "attention" or rate not in LOW:
            continue
        for other in other_names:
            against = by.get((column, other, rate))
            if against is not None:
                gap = entry.value - against.value
                # As of independent clips, which is wider than on the same ones: cautious.
                error = (entry.error**2 + against.error**2) ** 0.5
                parts.append(f"{column} at {rate} over {other} {gap * 100:+.1f} ± {error * 100:.1f}"
                             f" ({verdict(gap, error)})")  # fmt: skip
    return _joined(parts)


def _within_a_point(found: Sequence[Entry], kind: str) -> str:
    full = {e.column: e.gmacs for e in found if e.kind == "baseline"}
    parts = []
    for e in found:
        if e.kind != kind or e.column not in full or e.difference is None:
            continue
        saved = 1 - e.gmacs / full[e.column]
        if SAVED[0] - 0.005 <= saved <= SAVED[1] + 0.005 and e.difference_error is not None:
            inside = verdict(e.difference + 0.01, e.difference_error)
            parts.append(f"{e.column} by {e.score} at {e.keep_rate} {e.difference * 100:+.1f} ± "
                         f"{e.difference_error * 100:.1f} ({inside})")  # fmt: skip
    return _joined(parts)


def _sensitivity(grid: Grid, found: Sequence[Entry], kind: str) -> str:
    by, parts = _by(found, kind), []
    columns = grid.about.columns
    for (name, score, rate), ast in by.items():
        if columns[name].model != "AST" or rate not in LOW or ast.difference is None:
            continue
        for other, column in columns.items():
            mae = by.get((other, score, rate))
            if column.model != "AudioMAE" or column.task != columns[name].task or mae is None:
                continue
            if mae.difference is None or mae.difference_error is None:
                continue
            gap = ast.difference - mae.difference
            error = ((ast.difference_error or 0.0) ** 2 + mae.difference_error**2) ** 0.5
            parts.append(f"{column.task} by {score} at {rate}: AudioMAE loses {gap * 100:+.1f} ± "
                         f"{error * 100:.1f} more ({verdict(gap, error)})")  # fmt: skip
    return _joined(parts)


def _by(found: Sequence[Entry], kind: str) -> dict[tuple[str, str | None, float], Entry]:
    return {(e.column, e.score, e.keep_rate): e for e in found if e.kind == kind}


def _joined(parts: Sequence[str]) -> str:
    return "; ".join(parts) + "." if parts else "cannot tell, no such cells yet."
