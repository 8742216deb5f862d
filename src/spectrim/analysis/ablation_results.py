"""The files of an ablation: numbers, a table, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.files import save_json
from ..models.record import RESULT_VERSION, versions
from .ablation import Ablation
from .figures.style import COLOURS, MARKERS, bare, save_figure
from .results import save_table

Row = dict[str, Any]
NAMES = {"low": "without L (C1, C2)", "high": "without H (C4, C5)"}


def save_ablations(out: Path, found: Sequence[Ablation]) -> list[Path]:
    """Write ablation.json, ablation.csv, and ablation.png and .pdf into `out`."""
    rows = [row for one in found for row in one.rows]
    clusters = [
        {"model": one.rows[0]["model"], "data": one.rows[0]["data"], **one.clusters}
        for one in found
    ]
    failures = dict(failure for one in found for failure in one.failures)
    whole = {
        "rows": rows,
        "clusters": clusters,
        "failures": [{"path": path, "error": error} for path, error in failures.items()],
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }
    written = [save_json(out / "ablation.json", whole)]
    written.append(save_table(out / "ablation.csv", [_flat(row) for row in rows]))
    return written + save_figure(out, "ablation", draw_ablation(rows))


def draw_ablation(rows: Sequence[Row]) -> Figure:
    """The metric after dropping L or H, by how many blocks saw every patch; a panel a model.

    The dashed line is the unpruned model. Whiskers: one standard error, where it is accuracy.
    """
    panels = list(dict.fromkeys((row["model"], row["data"]) for row in rows))
    figure = Figure(figsize=(4.6 * len(panels) + 0.4, 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, panel in zip(axes, panels, strict=True):
        _panel(ax, [row for row in rows if (row["model"], row["data"]) == panel])
        ax.set_title(f"{panel[0]}, {panel[1]}", fontsize=10)
    axes[0].set_ylim(0, 100.5)
    axes[0].legend(fontsize=8, loc="lower right")
    return figure


def _panel(ax: Axes, rows: Sequence[Row]) -> None:
    plain = next(row for row in rows if row["dropped"] is None)
    ax.axhline(plain["value"] * 100, color="black", linestyle="--", linewidth=1, label="unpruned")
    for at, (which, name) in enumerate(NAMES.items()):
        those = [row for row in rows if row["dropped"] == which and row["value"] is not None]
        ax.errorbar(
            [row["after_blocks"] for row in those],
            [row["value"] * 100 for row in those],
            yerr=[(row["error"] or 0) * 100 for row in those],
            color=COLOURS[at],
            marker=MARKERS[at],
            capsize=2,
            label=name,
        )
    ax.set_xticks(sorted({row["after_blocks"] for row in rows if row["after_blocks"] is not None}))
    ax.set_xlabel("dropped after block (from 1; 0: before the first)")
    ax.set_ylabel(f"{plain['metric']} (%)")
    bare(ax)


def _flat(row: Row) -> Row:
    keys = ("model", "data", "dropped", "after_blocks", "patches_dropped", "metric", "value",
            "error", "unpruned", "clips", "no_patch_left", "failed", "batch_size", "threads",
            "device", "dtype", "frames", "format_version")  # fmt: skip
    found = {key: row[key] for key in keys}
    found["difference"], found["difference_low"], found["difference_high"] = (
        (row["difference"] or {}).get(key) for key in ("value", "low", "high")
    )
    known = versions()
    return found | {"plan": "no pruning"} | {key: known[key] for key in ("spectrim", "torch")}
