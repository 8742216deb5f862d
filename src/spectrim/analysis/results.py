"""The files of an analysis: figures, tables, numbers, the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.files import save, save_json
from .analyze import DataSet, Settings
from .drawn import draw_all
from .figures.style import save_figure
from .report import Shown, write_report
from .rows import record, tables


def save_analysis(
    out: Path,
    found: Sequence[DataSet],
    settings: Settings,
    paper: bool = False,
    skipped: Sequence[dict[str, Any]] = (),
) -> tuple[dict[str, Any], list[Path]]:
    """Write everything into `out`: report.html, results.json, CSV tables, PNG and PDF figures.

    Args:
        paper: draw the published curves along.
        skipped: the pairs that were not run, see `analyze.skipped`.

    Returns:
        The numbers, see `rows.record`, and the files.
    """
    numbers = record(found, settings, skipped)
    written = [save_json(out / "results.json", numbers)]
    flat = tables(numbers)
    written += [save_table(out / f"{name}.csv", rows) for name, rows in flat.items()]
    shown = []
    for drawn in draw_all(found, paper, settings.tau_pruned):
        files = save_figure(out, drawn.name, drawn.figure)
        written += files
        shown.append(Shown(drawn.section, drawn.caption, files[0], drawn.example))
    report = write_report(out / "report.html", numbers, shown)
    return numbers, [report, *written]


def save_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows as CSV; a column for every key of any row, empty where it has none."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    return save(path, write)
