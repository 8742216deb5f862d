"""Reading of CSV manifests."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..common.errors import SpectrimError, SpectrimNotice, nearest
from ..common.paths import path_in
from ..common.text import shortened
from .clip import Clip
from .spreadsheets import Table, read_table

TIMES = ("start", "end", "target_start", "target_end")
COLUMNS = ("path", "label", "split", "fold", *TIMES, "licence")


def read_csv_manifest(path: Path) -> list[Clip]:
    """Read the clips of a CSV manifest.

    Encodings and separators are as in `spreadsheets.read_table`. Names of columns may have any
    case.

    Raises:
        SpectrimError: not a table in such a text, no column "path", or a wrong cell, whose row the
            message names.
    """
    table = read_table(path, "path")
    _check_header(path, table)
    return [_clip(path, line, table, cells) for line, cells in table.rows]


def _check_header(path: Path, table: Table) -> None:
    if "path" not in table.header:
        given = shortened(table.given, 8) or "empty"
        raise SpectrimError(
            f"{path}: no column 'path' in line 1 ({given}). Expected path,label and optionally "
            f"{', '.join(COLUMNS[2:])}."
        )
    for name, as_given in zip(table.header, table.given, strict=True):
        if name not in COLUMNS:
            text = f"{path}: column {as_given!r} is ignored.{nearest(name, COLUMNS)}"
            warnings.warn(SpectrimNotice(text), stacklevel=3)


def _clip(path: Path, line: int, table: Table, cells: list[str]) -> Clip:
    where = f"{path}, row {line}"
    if len(cells) != len(table.header):
        raise SpectrimError(f"{where}: {len(cells)} cells for {len(table.header)} columns.")
    row = {key: cell.strip() for key, cell in zip(table.header, cells, strict=True)}
    if not row["path"]:
        raise SpectrimError(f"{where}: the path is empty.")
    times = dict(_times(where, row, table))
    for first, last in (("start", "end"), ("target_start", "target_end")):
        begin, end = times[first], times[last]
        if end is not None and end <= (begin or 0.0):
            raise SpectrimError(f"{where}: {last} {end} is not after {first} {begin or 0.0}.")
    return Clip(
        path=_file_of(path.parent, row["path"]),
        labels=tuple(part.strip() for part in row.get("label", "").split(";") if part.strip()),
        split=row.get("split") or None,
        fold=row.get("fold") or None,
        start=times["start"],
        end=times["end"],
        target_start=times["target_start"],
        target_end=times["target_end"],
        row=line,
        licence=row.get("licence") or None,
    )


def _file_of(folder: Path, name: str) -> Path:
    """The file of a row; paths written on Windows work on other systems, too."""
    file = path_in(folder, name)
    if "\\" in name and not file.is_file():
        with_slashes = folder / name.replace("\\", "/")
        return with_slashes if with_slashes.is_file() else file
    return file


def _times(where: str, row: dict[str, str], table: Table) -> Iterator[tuple[str, float | None]]:
    for key in TIMES:
        text = table.number_text(row.get(key, ""))
        try:
            value = float(text or 0)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise SpectrimError(f"{where}: {key} is {text!r}. Expected seconds, 0 or more.")
        yield key, value if text else None
