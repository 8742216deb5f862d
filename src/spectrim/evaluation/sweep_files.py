"""The files of a sweep: results.json, the figure, probabilities."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError
from ..common.files import save_arrays, save_json
from ..common.parse import read_json
from ..models.provenance import RESULT_VERSION, versions
from ..pruning.saved_plans import is_unpruned, method_of
from .figure import draw_sweep
from .sweep import Sweep


def save_sweeps(out: Path, sweeps: Sequence[Sweep], source: Path) -> list[Path]:
    """Write results.json, the figure and per-clip probabilities into `out`.

    `probabilities-MODEL.npz` holds "paths" and "names" (clips,), where all names differ, and an
    array (clips, classes) for each row of the model, called "unpruned", "attention-0.5" and so on.
    The files of an earlier sweep that results.json lists are removed first, so a killed process
    never leaves files of two sweeps. Other files stay.
    """
    for path in _probability_files(out):
        with contextlib.suppress(OSError):
            path.unlink()
    rows = [row for sweep in sweeps for row in sweep.rows]
    failures = dict.fromkeys(failure for sweep in sweeps for failure in sweep.failures)
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
        draw_sweep(out / "metric-macs.png", rows),
    ]
    for sweep in sweeps:
        arrays: dict[str, dict[str, np.ndarray]] = {}  # by model
        for row, values in zip(sweep.rows, sweep.probabilities, strict=True):
            arrays.setdefault(row["model"], {})[_array_name(row)] = values
        clips = {"paths": np.array(sweep.paths), "names": np.array(sweep.names)}
        for model, probabilities in arrays.items():
            path = out / f"probabilities-{slug(model)}.npz"
            written.append(save_arrays(path, compress=True, **clips, **probabilities))
    return written


def _probability_files(out: Path) -> set[Path]:
    """The files of probabilities that results.json of an earlier sweep lists."""
    try:
        rows = read_json(out / "results.json")["rows"]
        return {out / f"probabilities-{slug(row['model'])}.npz" for row in rows}
    except (SpectrimError, KeyError, TypeError):
        return set()


def _array_name(row: Mapping[str, Any]) -> str:
    if is_unpruned(row):
        return "unpruned"
    method = slug(method_of(row))
    # The stages of an exported file may have different keep rates.
    return method if row["keep_rate"] is None else f"{method}-{row['keep_rate']:g}"


def slug(name: str) -> str:
    """A model's name as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
