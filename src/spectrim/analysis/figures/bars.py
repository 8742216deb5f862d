"""Figure 5 and Table III, clusters and their sizes; and what share of each is retained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...audio.constants import MELS
from ...metrics.jackknife import Estimate
from ...pruning.patches import PATCH
from ..analyze import DataSet, drops
from ..clusters import Clusters
from ..counts.histograms import Single
from ..patches import STATISTICS, View
from ..second_pass import Run, Subject
from .style import CLUSTER_COLOURS, HERTZ, NAMES, TO_NAMES, bare, looks_of, mel_of, seconds_of

PADDING: dict[str, Any] = {"facecolor": "none", "edgecolor": "#D55E00", "hatch": "//////", "lw": 0}


def draw_clusters(found: Sequence[DataSet]) -> Figure:
    """A row a data set (and normalisation), a column a statistic: histogram, cut into clusters."""
    rows = [(data, view) for data in found for view in data.survey.clusters]
    figure = Figure(figsize=(11, 2.9 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    padded = False
    for panels, (data, view) in zip(axes, rows, strict=True):
        names = [subject.name for subject in data.subjects if subject.view == view]
        user = next(subject for subject in data.subjects if subject.view == view)
        for ax, statistic, clusters, single in zip(
            panels, STATISTICS, data.survey.clusters[view], data.singles[view], strict=True
        ):
            sizes = user.runs[0].retention.sizes(statistic).value
            _histogram(ax, clusters, single, sizes, TO_NAMES[statistic])
            padded = padded or bool(single.counts[0].any())
            ax.set_title(f"{data.name}, {NAMES[statistic]}: {', '.join(names)}", fontsize=9)
    if padded:
        hatched = Patch(label="of it padding", **PADDING)
        figure.legend(handles=[hatched], loc="outside lower right", fontsize=8)
    return figure


def _histogram(ax: Axes, clusters: Clusters, single: Single, sizes: np.ndarray, what: str) -> None:
    edges, counts = single.edges, single.counts
    shares = counts / counts.sum() * 100
    centres, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    ranks = clusters.rank(centres)
    colours = [CLUSTER_COLOURS[rank] for rank in ranks]
    total = shares.sum(0)
    ax.bar(centres, total, width, color=colours)
    if shares[0].any():
        # Padding is hatched: within a clip it has one value, so that it stands out as spikes.
        ax.bar(centres, shares[0], width, **PADDING)
    # One spike would flatten the rest: the axis is cut, and says how high the bar goes.
    third, highest = np.sort(total)[-3], total.max()
    top = 1.6 * third if highest > 3 * third > 0 else highest
    if highest > top:
        at = int(total.argmax())
        text = f"the bar at {centres[at]:.2f} goes on to {highest:.0f} %"
        ax.text(0.99, 0.78, text, transform=ax.transAxes, fontsize=7.5, ha="right", va="top")
    ax.set_ylim(0, top * 1.32)
    for edge in clusters.edges:
        ax.axvline(edge, color="black", linewidth=0.8, linestyle=":")
    for rank, (low, high) in enumerate(clusters.ranges()):
        text = f"C{rank + 1}\n{sizes[rank]:.{int(sizes[rank] < 0.095)}%}"
        place = ((low + high) / 2, 0.985)
        ax.text(
            *place, text, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=7.5
        )
    ax.set_xlabel(what)
    ax.set_ylabel("patches (%)")
    bare(ax)


def draw_retention(found: Sequence[DataSet]) -> Figure | None:
    """Share of each cluster, of padding, of each time and band left at the end; None: all is."""
    runs = [(d, s, run) for d in found for s in d.subjects for run in s.runs if drops(run)]
    if not runs:
        return None
    panels = list(dict.fromkeys((d.name, run.score) for d, _, run in runs))
    figure = Figure(figsize=(15, 2.9 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(len(panels), 4, squeeze=False, sharey="row")
    looks = looks_of([subject.name for _, subject, _ in runs])
    for row, (name, score) in zip(axes, panels, strict=True):
        those = [(s, run) for d, s, run in runs if (d.name, run.score) == (name, score)]
        _retention_row(row, f"{name}, {score}", those, looks)
        row[0].set_ylim(0, min(100, row[0].get_ylim()[1]))
    return figure


def _retention_row(
    row: Sequence[Axes],
    title: str,
    runs: Sequence[tuple[Subject, Run]],
    looks: dict[str, tuple[str, str]],
) -> None:
    width = 0.8 / len(runs)
    for at, (subject, run) in enumerate(runs):
        shift, (colour, sign) = (at - (len(runs) - 1) / 2) * width, looks[subject.name]
        style = {"width": width, "color": colour, "error_kw": {"linewidth": 0.8}}
        for ax, kind in zip(row, STATISTICS, strict=False):
            shares = run.retention.shares(kind)
            _bars(ax, np.arange(5) + shift, shares, slice(None), subject.name, style)
        padding = run.retention.padding()
        _bars(row[0], np.arange(5, 7) + shift, padding, slice(None), "", style)
        # Under intensity and variation lines of different models coincide: each is seen through.
        dashes = (0, (3, 3)) if at else "-"
        marker = {
            "color": colour,
            "marker": sign,
            "markersize": max(2.0, 5 - 1.5 * at),
            "linestyle": dashes,
        }
        _line(row[2], run.view, run.retention.shares("row"), "row", subject.name, marker)
        _line(row[3], run.view, run.retention.shares("column"), "column", subject.name, marker)
    row[0].set_xticks(range(7), ["C1", "C2", "C3", "C4", "C5", "pad-\nding", "sound"], fontsize=8)
    row[1].set_xticks(range(5), ["C1", "C2", "C3", "C4", "C5"], fontsize=8)
    row[0].set_ylabel("retained at the end (%)")
    whole = {run.model.plan.counts(run.view.grid.count, run.model.config.depth)[-1][1]
             / run.view.grid.count for _, run in runs}  # fmt: skip
    for ax in row:
        for share in whole:
            ax.axhline(share * 100, color="black", linestyle=":", linewidth=1, label="of all")
    if not any(run.retention.sums["mean"][:, 0, :, 0].any() for _, run in runs):
        row[0].text(5, 2, "none", ha="center", fontsize=8)
    for ax, what in zip(
        row, ("by intensity", "by variation", "by frequency", "by time"), strict=True
    ):
        ax.set_title(f"{title}: {what}", fontsize=9)
        bare(ax)
    row[0].legend(fontsize=7.5)
    row[2].set_xticks([mel_of(hertz) for hertz in HERTZ], [str(hertz) for hertz in HERTZ])
    row[2].set_xlim(-0.5, MELS - 0.5)
    row[2].set_xlabel("middle of the band (Hz)", fontsize=8)
    row[2].tick_params(axis="x", labelsize=8)
    row[3].set_xlabel("time (s)", fontsize=8)
    row[3].tick_params(axis="x", labelsize=8)


def _bars(
    ax: Axes, places: np.ndarray, found: Estimate, pick: slice, label: str, style: dict[str, object]
) -> None:
    value, error = found.value[-1][pick], found.error[-1][pick]
    there = np.isfinite(value)
    value, error = np.where(there, value, 0) * 100, np.where(np.isfinite(error), error, 0) * 100
    whiskers = [np.minimum(error, value), error]  # not below 0
    ax.bar(places, value, yerr=whiskers, label=label or None, **style)  # type: ignore[arg-type]


def _line(
    ax: Axes, view: View, found: Estimate, kind: str, label: str, style: dict[str, object]
) -> None:
    value, error = found.value[-1] * 100, np.nan_to_num(found.error[-1]) * 100
    if kind == "row":
        # At the band's middle on the mel axis, which models of any stride share.
        middles = [row * view.stride[0] + (PATCH - 1) / 2 for row in range(len(value))]
        ax.errorbar(middles, value, yerr=error, label=label, capsize=2, **style)  # type: ignore[arg-type]
        return
    times = [seconds_of(column * view.stride[1] + 8) for column in range(len(value))]
    ax.errorbar(times, value, yerr=error, label=label, capsize=2, **style)  # type: ignore[arg-type]
