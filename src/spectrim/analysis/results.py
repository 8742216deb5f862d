"""The files of an analysis: figures, tables, numbers, the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..common.files import save, save_json
from ..common.parse import read_json
from .analyze import DataSet, Settings
from .figures.all_figures import draw_all
from .figures.style import save_figure
from .report import ReportFigure, write_report
from .tables import record, tables


def save_analysis(
    out: Path,
    data: Sequence[DataSet],
    settings: Settings,
    paper: bool = False,
    skipped: Sequence[dict[str, Any]] = (),
    is_stopped: bool = False,
) -> tuple[dict[str, Any], list[Path]]:
    """Write everything into `out`: report.html, results.json, CSV tables, PNG and PDF figures.

    Args:
        paper: draw the published curves too.
        skipped: the pairs that were not run, see `inputs.skipped`.
        is_stopped: whether Ctrl-C ended the analysis; its numbers then have "stopped": True.

    Returns:
        The numbers, see `tables.record`, and the files, which results.json lists too. Files that
        an earlier analysis wrote there, and this one did not, are deleted.
    """
    earlier = _written(out)
    numbers = record(data, settings, skipped)
    if is_stopped:
        numbers["stopped"] = True
    results = save_json(out / "results.json", numbers)  # before the figures: they take longer
    written = [results]
    written += [save_table(out / f"{name}.csv", rows) for name, rows in tables(numbers).items()]
    pictures = []
    for entry in draw_all(data, paper, settings.tau_pruned):
        files = save_figure(out, entry.name, entry.figure)
        written += files
        pictures.append(ReportFigure(entry.section, entry.caption, files[0], entry.example))
    report = write_report(out / "report.html", numbers, pictures)
    files = [report, *written]
    numbers |= {"files": [path.name for path in files]}
    save_json(results, numbers)
    for path in earlier.difference(files):
        path.unlink(missing_ok=True)
    return numbers, files


def _written(out: Path) -> set[Path]:
    """The files that an earlier results.json in the folder lists."""
    try:
        names = read_json(out / "results.json")["files"]
        return {out / name for name in names if Path(name).name == name}
    except (SpectrimError, KeyError, TypeError):
        return set()


def save_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows as CSV; a column for every key of any row, empty where a row has no such key."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    return save(path, write)
