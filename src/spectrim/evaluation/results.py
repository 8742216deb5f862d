"""The files of a sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError
from ..common.files import read_json, save, save_json
from ..models.provenance import RESULT_VERSION, versions
from .figure import draw
from .sweep import Sweep


def save_sweeps(out: Path, sweeps: Mapping[str, Sweep], source: Path) -> list[Path]:
    """Write results.json, the figure and per-clip probabilities into `out`.

    `probabilities-MODEL.npz` holds "paths" and "names" (clips,), of which no two are alike, and an
    array (clips, classes) a row, called as the row: "unpruned", "attention-0.5". Such files of the
    other models that an earlier sweep's results.json lists go, as its rows do; all else in the
    folder stays.
    """
    earlier = _written(out)
    rows = [row for sweep in sweeps.values() for row in sweep.rows]
    failures = dict.fromkeys(failure for sweep in sweeps.values() for failure in sweep.failures)
    written = [
        save_json(
            out / "results.json",
            {
                "rows": rows,
                "data": str(source),
                "failures": [{"path": path, "error": error} for path, error in failures],
                "versions": versions(),
                "format_version": RESULT_VERSION,
            },
        ),
        draw(out / "metric-macs.png", rows),
    ]
    for name, sweep in sweeps.items():
        arrays = {
            _called(row): values
            for row, values in zip(sweep.rows, sweep.probabilities, strict=True)
        }
        path = out / f"probabilities-{slug(name)}.npz"
        clips = {"paths": np.array(sweep.paths), "names": np.array(sweep.names)}
        written.append(_save_npz(path, clips | arrays))
    for path in earlier.difference(written):
        path.unlink(missing_ok=True)
    return written


def _written(out: Path) -> set[Path]:
    """The probabilities of the sweep whose results.json is there."""
    try:
        rows = read_json(out / "results.json")["rows"]
        return {out / f"probabilities-{slug(row['model'])}.npz" for row in rows}
    except (SpectrimError, KeyError, TypeError):
        return set()


def _called(row: Mapping[str, Any]) -> str:
    if row["score"] is None:
        return "unpruned"
    # An exported file may have several keep-rates.
    return row["score"] if row["keep_rate"] is None else f"{row['score']}-{row['keep_rate']:g}"


def slug(name: str) -> str:
    """A model's name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def _save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    def write(aside: Path) -> None:
        np.savez_compressed(aside, **arrays)  # type: ignore[arg-type]

    return save(path, write)
