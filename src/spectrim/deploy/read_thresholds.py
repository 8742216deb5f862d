"""Thresholds of classes: one number for all, or one per class, from a file or a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError, nearest
from ..common.parse import read_json
from ..common.paths import refuse_address
from ..common.text import shortened
from ..data.spreadsheets import read_table

DEFAULT_THRESHOLD = 0.5
COLUMNS = ("label", "threshold")
EXPECTED = "a file of thresholds"
WAY_OUT = "`spectrim thresholds` writes a valid file."

Thresholds = float | Mapping[str, float | None] | Sequence[float] | np.ndarray
"""A number for all classes, one number per class, or labels with numbers; None: never detected."""


def read_thresholds(path: Path) -> dict[str, float | None]:
    """Read thresholds from a CSV or JSON file.

    A CSV file has the columns `label` and `threshold`; further columns are ignored. A JSON file is
    an object {"Dog": 0.4}, or has "rows" as `spectrim thresholds` writes them. An empty cell, or
    null, stands for a class that is never detected.

    Raises:
        SpectrimError: the file cannot be read; a value is no number from 0 to 1; a label occurs
            twice; there is no threshold at all.
    """
    refuse_address(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise SpectrimError(f"{path}: expected thresholds in a file that ends in .csv or .json.")
    rows = _json_rows(path) if suffix == ".json" else _csv_rows(path)
    thresholds: dict[str, float | None] = {}
    for location, label, value in rows:
        if label in thresholds:
            raise SpectrimError(f"{path}, {location}: label {label!r} occurs twice. Remove one.")
        thresholds[label] = _checked_value(value, f"{path}, {location}: threshold of {label!r}")
    if not thresholds:
        raise SpectrimError(f"{path}: contains no threshold. {WAY_OUT}")
    return thresholds


def class_thresholds(
    thresholds: Thresholds,
    labels: Sequence[str],
    default: float = DEFAULT_THRESHOLD,
    source: str = "thresholds",
) -> np.ndarray:
    """(classes,) float64 thresholds in the order of the labels; infinity: never detected.

    Args:
        default: of the classes that a dictionary does not contain.
        source: where the thresholds are from, for errors.

    Raises:
        SpectrimError: a label that is not one of `labels`, or a number that is not from 0 to 1.
    """
    if isinstance(thresholds, Mapping):
        unknown = [label for label in thresholds if label not in set(labels)]
        if unknown:
            count = f"{len(unknown)} labels are" if len(unknown) > 1 else "a label is"
            raise SpectrimError(
                f"{source}: {count} not a class of the model: {shortened(unknown)}."
                f"{nearest(unknown[0], labels)}"
            )
        values = [
            _checked_value(thresholds.get(label, default), f"{source}: threshold of {label!r}")
            for label in labels
        ]
        return np.array([np.inf if value is None else value for value in values], np.float64)
    array = np.asarray(thresholds, np.float64)
    if array.ndim and array.shape != (len(labels),):
        raise SpectrimError(
            f"{source}: {array.size} values for {len(labels)} classes; expected one per class."
        )
    if not (((array >= 0) & (array <= 1)) | (array == np.inf)).all():
        raise SpectrimError(f"{source}: {thresholds}; expected numbers from 0 to 1.")
    return np.broadcast_to(array, (len(labels),))


def plain_thresholds(values: np.ndarray, labels: Sequence[str]) -> float | dict[str, float | None]:
    """Thresholds as plain data: a number if it is the same for all, or a number per label."""
    if len(set(values)) == 1 and np.isfinite(values[0]):
        return float(values[0])
    return {
        label: float(value) if np.isfinite(value) else None
        for label, value in zip(labels, values, strict=True)
    }


def _csv_rows(path: Path) -> list[tuple[str, str, Any]]:
    table = read_table(path, "threshold")
    missing = [column for column in COLUMNS if column not in table.header]
    if missing:
        raise SpectrimError(
            f"{path}: has no column {shortened(missing)}; expected the columns label and "
            f"threshold. {WAY_OUT}"
        )
    label, threshold = (table.header.index(column) for column in COLUMNS)
    rows = []
    for line, cells in table.rows:
        if len(cells) < len(table.header):
            raise SpectrimError(f"{path}, row {line}: a cell is missing.")
        if len(cells) > len(table.header):
            raise SpectrimError(
                f"{path}, row {line}: too many cells. Quote a label that contains a comma."
            )
        value = table.number_text(cells[threshold].strip())
        rows.append((f"row {line}", cells[label].strip(), value or None))
    return rows


def _json_rows(path: Path) -> list[tuple[str, str, Any]]:
    content = read_json(path, EXPECTED)
    wrong = SpectrimError(
        f'{path}: expected an object such as {{"Dog": 0.4}}, or rows with label and threshold. '
        f"{WAY_OUT}"
    )
    if not isinstance(content, dict):
        raise wrong
    rows = content.get("rows")
    if not isinstance(rows, list):
        return [(f"key {label!r}", label, value) for label, value in content.items()]
    if not all(isinstance(row, dict) and set(COLUMNS) <= set(row) for row in rows):
        raise wrong
    return [
        (f"row {number}", str(row["label"]), row["threshold"]) for number, row in enumerate(rows, 1)
    ]


def _checked_value(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 <= number <= 1:
        raise SpectrimError(f"{name} is {value!r}; expected a number from 0 to 1.")
    return number
