"""The files of an ablation: numbers, a table, a figure."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...common.files import save_json
from ...models.provenance import RESULT_VERSION, versions
from ..figures.style import COLOURS, MARKERS, bare, save_figure
from ..results import save_table
from ..tables import ERRORS
from .ablate import DROPPED, Ablation

Row = dict[str, Any]
ACROSS = 3  # panels side by side, at most
NAMES = {"low": "without L (C1, C2)", "high": "without H (C4, C5)",
         "random-low": "as many as L by lot", "random-high": "as many as H by lot"}  # fmt: skip


@functools.cache
def published() -> dict[str, Any]:
    """The paper's Table IV: "rows", "unpruned" rows of its Table I, and the "source"."""
    file = resources.files("spectrim.assets") / "paper" / "table4.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def save_ablations(
    out: Path,
    found: Sequence[Ablation],
    paper: bool = False,
    skipped: Sequence[Row] = (),
    command: str = "",
    not_measured: Sequence[Row] = (),
) -> list[Path]:
    """Write ablation.json, ablation.csv, and ablation.png and .pdf into `out`.

    Args:
        paper: draw the published numbers beside ours.
        skipped: what `analyze.skipped` gives.
        command: what was called.
        not_measured: "model", "data" and "error" of pairs that an error ended.
    """
    rows = [row for one in found for row in one.rows]
    clusters = [
        {"model": one.rows[0]["model"], "data": one.rows[0]["data"], **one.clusters}
        for one in found
    ]
    contrasts = [
        {key: one.rows[0][key] for key in ("model", "family", "data")} | one.contrasts
        for one in found
        if one.contrasts
    ]
    failures = dict.fromkeys(failure for one in found for failure in one.failures)
    whole = {
        "rows": rows,
        "contrasts": contrasts,
        "clusters": clusters,
        "skipped": list(skipped),
        "not_measured": list(not_measured),
        "failures": [{"path": path, "error": error} for path, error in failures],
        "standard_errors": "rows: of a share (accuracy), bootstrap over clips (mAP); contrasts: "
        + ERRORS,
        "command": command,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }
    written = [save_json(out / "ablation.json", whole)]
    written.append(save_table(out / "ablation.csv", [_flat(row) for row in rows]))
    return written + save_figure(out, "ablation", draw_ablation(rows, paper))


def draw_ablation(rows: Sequence[Row], paper: bool = False) -> Figure:
    """The metric after dropping L or H, by how many blocks saw every patch; a panel a model.

    The dashed line is the unpruned model. Whiskers: one standard error over clips.

    Args:
        paper: a panel of the published numbers for each family of models that is there.
    """
    families = list(dict.fromkeys(row["family"] for row in rows)) if paper else []
    panels = list(dict.fromkeys((row["model"], row["data"]) for row in rows))
    count = len(panels) + len(families)
    columns = 2 if count == 4 else min(count, ACROSS)
    rows_of = -(-count // columns)
    size = (4.6 * columns + 0.4, 4.4 * rows_of)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows_of, columns, squeeze=False, sharey=True)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax, family in zip(axes[len(panels) :], families, strict=False):
        _published(ax, family)
    for ax, panel in zip(axes, panels, strict=False):
        _panel(ax, [row for row in rows if (row["model"], row["data"]) == panel])
        ax.set_title(f"{panel[0]}, {panel[1]}", fontsize=10)
    axes[0].set_ylim(0, 101)
    for ax in axes[:count]:
        bare(ax)
        # Long samples of the lines, so that dashes show.
        legend = {"fontsize": 7.5, "ncols": 2, "handlelength": 3.6}
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), **legend)
    return figure


def _panel(ax: Axes, rows: Sequence[Row]) -> None:
    plain = next(row for row in rows if row["dropped"] is None)
    ax.axhline(plain["value"] * 100, color="black", linestyle="--", linewidth=1, label="unpruned")
    shift = 0.12  # of each line to the right, so that whiskers stand side by side
    for at, (which, name) in enumerate(NAMES.items()):
        those = [row for row in rows if row["dropped"] == which and row["value"] is not None]
        by_lot = which not in DROPPED
        if by_lot and not those:
            continue
        ax.errorbar(
            [row["after_blocks"] + shift * at for row in those],
            [row["value"] * 100 for row in those],
            yerr=[(row["error"] or 0) * 100 for row in those],
            color=COLOURS[at % len(DROPPED)],
            marker=MARKERS[at],
            markerfacecolor="white" if by_lot else None,
            linestyle=":" if by_lot else "-",
            capsize=2,
            label=name,
        )
    after = sorted({row["after_blocks"] for row in rows if row["after_blocks"] is not None})
    ax.set_xticks(after)
    first = "; 0: before the first" if 0 in after else ""
    ax.set_xlabel(f"dropped after block (from 1{first})")
    ax.set_ylabel(f"{plain['metric']} (%)")


def _published(ax: Axes, family: str) -> None:
    rows = [row for row in published()["rows"] if row["model"] == family]
    for at, data in enumerate(dict.fromkeys(row["dataset"] for row in rows)):
        for which, line in (("low", "-"), ("high", "--")):
            those = [r for r in rows if r["dataset"] == data and r["dropped"].startswith(which)]
            ax.plot(
                [row["after_block"] for row in those],
                [row["result"] for row in those],
                color=COLOURS[at + 2],
                marker=MARKERS[at],
                linestyle=line,
                label=f"{data}, {NAMES[which]}",
            )
    ax.set_title(f"{family} (paper; mAP for AS-20K, else accuracy)", fontsize=10)
    ax.set_xticks(sorted({row["after_block"] for row in rows}))
    ax.set_xlabel("dropped after block (from 1)")


def _flat(row: Row) -> Row:
    keys = ("model", "family", "data", "dropped", "after_blocks", "patches_dropped", "metric",
            "value", "error", "unpruned", "clips", "no_patch_left", "failed", "batch_size",
            "threads", "device", "dtype", "frames", "format_version")  # fmt: skip
    found = {key: row[key] for key in keys}
    found["difference"], found["difference_low"], found["difference_high"] = (
        (row["difference"] or {}).get(key) for key in ("value", "low", "high")
    )
    known = versions()
    return found | {"plan": "no pruning"} | {key: known[key] for key in ("spectrim", "torch")}
