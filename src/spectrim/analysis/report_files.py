"""The files of an analysis: figures, tables, numbers, the report."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..common.files import save, save_json
from ..common.parse import read_json
from .analyze import AnalysisSettings, DataSet
from .figures.all_figures import draw_all
from .figures.style import save_figure
from .report import ReportFigure, write_report
from .tidy_tables import analysis_record, tables

SUFFIXES = (".csv", ".html", ".pdf", ".png")  # of the files beside results.json


def save_analysis(
    out: Path,
    data: Sequence[DataSet],
    settings: AnalysisSettings,
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
        The numbers (see `tidy_tables.analysis_record`) and the files, which results.json also
        lists. The files of an earlier analysis in the folder are deleted first, so a killed
        process never leaves files of two analyses.
    """
    numbers = analysis_record(data, settings, skipped)
    if is_stopped:
        numbers["stopped"] = True
    for path in _written(out):
        with contextlib.suppress(OSError, ValueError):
            path.unlink()
    results = out / "results.json"
    report = out / "report.html"
    files = [report, results]

    def list_files(*names: str) -> None:
        """List files in results.json before they are written, so no kill leaves unknown files."""
        files.extend(out / name for name in names)
        save_json(results, numbers | {"files": [path.name for path in files]})

    rows_of_tables = tables(numbers)
    list_files(*(f"{name}.csv" for name in rows_of_tables))
    for name, rows in rows_of_tables.items():
        save_table(out / f"{name}.csv", rows)
    pictures = []
    for entry in draw_all(data, paper, settings.tau_pruned):
        list_files(f"{entry.name}.png", f"{entry.name}.pdf")
        png, _ = save_figure(out, entry.name, entry.figure)
        pictures.append(ReportFigure(entry.section, entry.caption, png, entry.example))
    write_report(report, numbers, pictures)
    return numbers | {"files": [path.name for path in files]}, files


def _written(out: Path) -> set[Path]:
    """The figures, tables and report that an earlier results.json in the folder lists."""
    try:
        paths = [Path(name) for name in read_json(out / "results.json")["files"]]
        return {out / path for path in paths if path.name == str(path) and path.suffix in SUFFIXES}
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
