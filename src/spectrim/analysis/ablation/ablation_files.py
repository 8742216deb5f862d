"""The files of an ablation: numbers, a table, a figure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...assets.published import paper_file
from ...common.files import save_json
from ...common.palette import COLOURS, MARKERS
from ...models.provenance import RESULT_VERSION, versions
from ..figures.style import save_figure, style_axes
from ..report_files import save_table
from ..tidy_tables import ERRORS, Row
from .ablate import DROPPED, Ablation

ACROSS = 3  # panels side by side, at most
NAMES = {"low": "without L (C1, C2)", "high": "without H (C4, C5)",
         "random-low": "random, as many as L", "random-high": "random, as many as H"}  # fmt: skip
AXIS = "blocks before the drop"
"""Unpruned blocks count the same from 0 and from 1: after 3 blocks is after the paper's block 3."""


def save_ablations(
    out: Path,
    ablations: Sequence[Ablation],
    paper: bool = False,
    skipped: Sequence[Row] = (),
    command: str = "",
    not_measured: Sequence[Row] = (),
    is_stopped: bool = False,
) -> list[Path]:
    """Write ablation.json, ablation.csv, and ablation.png and .pdf into `out`.

    Args:
        paper: draw the published numbers beside ours.
        skipped: from `inputs.skipped`.
        command: the command line.
        not_measured: "model", "data" and "error" of pairs that an error ended.
        is_stopped: whether Ctrl-C ended the ablation; the file then has "stopped": true.
    """
    rows = [row for ablation in ablations for row in ablation.rows]
    failures = dict.fromkeys(failure for ablation in ablations for failure in ablation.failures)
    numbers = {
        "rows": rows,
        "contrasts": [
            {key: ablation.rows[0][key] for key in ("model", "family", "data")} | ablation.contrasts
            for ablation in ablations
            if ablation.contrasts
        ],
        "clusters": [
            {key: ablation.rows[0][key] for key in ("model", "data")} | ablation.clusters
            for ablation in ablations
        ],
        "skipped": list(skipped),
        "not_measured": list(not_measured),
        "failures": [{"path": path, "error": error} for path, error in failures],
        "standard_errors": "rows: of a share (accuracy), bootstrap over clips (mAP); contrasts: "
        + ERRORS,
        "command": command,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }
    if is_stopped:
        numbers["stopped"] = True
    for suffix in ("csv", "png", "pdf"):  # from an earlier ablation, so files never mix
        with contextlib.suppress(OSError):
            (out / f"ablation.{suffix}").unlink()
    written = [save_json(out / "ablation.json", numbers)]
    written.append(save_table(out / "ablation.csv", [_flat(row) for row in rows]))
    return written + save_figure(out, "ablation", draw_ablation(rows, paper))


def _flat(row: Row) -> Row:
    """A row of ablation.csv; `after_blocks` is a number of blocks."""
    keys = ("model", "family", "data", "dropped", "after_blocks", "patches_dropped", "metric",
            "value", "error", "unpruned", "clips", "no_patch_left", "failed", "batch_size",
            "threads", "device", "dtype", "frames", "format_version")  # fmt: skip
    difference = row["difference"] or dict.fromkeys(("value", "low", "high"))
    return {
        **{key: row[key] for key in keys},
        "difference": difference["value"],
        "difference_low": difference["low"],
        "difference_high": difference["high"],
        "plan": "no pruning",
        **{key: versions()[key] for key in ("spectrim", "torch")},
    }


def draw_ablation(rows: Sequence[Row], paper: bool = False) -> Figure:
    """The metric without L or H by the number of unpruned blocks; one panel per model.

    The dashed line is the unpruned model. Whiskers: one standard error over clips.

    Args:
        paper: add a panel of the published numbers for each family of models.
    """
    families = list(dict.fromkeys(row["family"] for row in rows)) if paper else []
    families = [name for name in families if _published_rows(name)]
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row["model"], row["data"]), []).append(row)
    count = len(panels) + len(families)
    columns = 2 if count == 4 else min(count, ACROSS)
    lines = -(-count // columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, 4.4 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    for ax, (names, panel) in zip(axes, panels.items(), strict=False):
        _draw_panel(ax, panel)
        ax.set_title(", ".join(names), fontsize=10)
    for ax, family in zip(axes[len(panels) :], families, strict=False):
        _draw_published(ax, family)
    axes[0].set_ylim(0, 101)
    for ax in axes[:count]:
        style_axes(ax)
        ax.set_xlabel(AXIS)
        # Long samples of the lines show their dashes.
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, ncols=2,
                  handlelength=3.6)  # fmt: skip
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure


def _draw_panel(ax: Axes, rows: Sequence[Row]) -> None:
    plain = next(row for row in rows if row["dropped"] is None)
    ax.axhline(plain["value"] * 100, color="black", linestyle="--", linewidth=1, label="unpruned")
    shift = 0.12  # of each line to the right, so that whiskers stand side by side
    for index, (which, name) in enumerate(NAMES.items()):
        points = [row for row in rows if row["dropped"] == which and row["value"] is not None]
        is_random = which not in DROPPED
        if is_random and not points:
            continue
        ax.errorbar(
            [row["after_blocks"] + shift * index for row in points],
            [row["value"] * 100 for row in points],
            yerr=[(row["error"] or 0) * 100 for row in points],
            color=COLOURS[index % len(DROPPED)],
            marker=MARKERS[index],
            markerfacecolor="white" if is_random else None,
            linestyle=":" if is_random else "-",
            capsize=2,
            label=name,
        )
    ax.set_xticks(sorted({row["after_blocks"] for row in rows if row["dropped"] is not None}))
    ax.set_ylabel(f"{plain['metric']} (%)")


def _draw_published(ax: Axes, family: str) -> None:
    rows = _published_rows(family)
    for index, data in enumerate(dict.fromkeys(row["dataset"] for row in rows)):
        for which, line in (("low", "-"), ("high", "--")):
            points = [r for r in rows if r["dataset"] == data and r["dropped"].startswith(which)]
            ax.plot(
                [row["after_block"] for row in points],
                [row["result"] for row in points],
                color=COLOURS[index + 2],
                marker=MARKERS[index],
                linestyle=line,
                label=f"{data}, {NAMES[which]}",
            )
    ax.set_title(f"{family} (paper; mAP for AS-20K, else accuracy)", fontsize=10)
    ax.set_xticks(sorted({row["after_block"] for row in rows}))


def _published_rows(family: str) -> list[Row]:
    return [row for row in paper_file("table4")["rows"] if row["model"] == family]
