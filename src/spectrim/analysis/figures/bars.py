"""Figure 5 and Table III: clusters and their sizes; and the fraction of each that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...common.palette import VERMILION, Style, series_styles
from ...metrics.jackknife import Estimate
from ..analyze import DataSet
from ..clusters import Clusters
from ..counts.histograms import Histogram
from ..patch_statistics import STATISTICS
from ..second_pass import AnalyzedModel, PrunedModel
from .style import AXIS_NAMES, CLUSTER_COLOURS, NAMES, MelAxis, seconds_of, style_axes

PADDING: dict[str, Any] = {"facecolor": "none", "edgecolor": VERMILION, "hatch": "//////", "lw": 0}
CLUSTER_NAMES = ["C1", "C2", "C3", "C4", "C5"]


def draw_clusters(data: Sequence[DataSet]) -> Figure:
    """Histograms of the clusters: a row per data set and normalisation, a column per statistic."""
    rows = [(one, view) for one in data for view in one.first.clusters]
    figure = Figure(figsize=(11, 2.9 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    has_padding = False
    for panels, (one, view) in zip(axes, rows, strict=True):
        models = [model for model in one.models if model.view == view]
        names = ", ".join(model.name for model in models)
        shares = models[0].pruned[0].retention.all_patches
        for ax, statistic, clusters, histogram in zip(
            panels, STATISTICS, one.first.clusters[view], one.histograms[view], strict=True
        ):
            _draw_histogram(ax, clusters, histogram, shares.of_input(statistic).value)
            ax.set_xlabel(AXIS_NAMES[statistic])
            ax.set_title(f"{one.name}, {NAMES[statistic]}: {names}", fontsize=9)
            has_padding = has_padding or bool(histogram.counts[0].any())
    if has_padding:
        hatched = Patch(label="of which padding", **PADDING)
        figure.legend(handles=[hatched], loc="outside lower right", fontsize=9)
    return figure


def _draw_histogram(ax: Axes, clusters: Clusters, histogram: Histogram, sizes: np.ndarray) -> None:
    edges, percent = histogram.edges, histogram.counts / histogram.counts.sum() * 100
    centres, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    total = percent.sum(0)
    colours = [CLUSTER_COLOURS[rank] for rank in clusters.rank(centres)]
    ax.bar(centres, total, width, color=colours)
    if percent[0].any():
        # Padding is hatched: it has one value in each clip, so it stands out as spikes.
        ax.bar(centres, percent[0], width, **PADDING)
    # A spike would flatten the other bars: the axis is cut, and a text gives the spike's height.
    third, highest = np.sort(total)[-3], total.max()
    top = 1.6 * third if highest > 3 * third > 0 else highest
    if highest > top:
        text = f"the bar at {centres[total.argmax()]:.2f} reaches {highest:.0f} %"
        ax.text(0.99, 0.78, text, transform=ax.transAxes, fontsize=9, ha="right", va="top")
    ax.set_ylim(0, top * 1.32)
    for edge in clusters.edges:
        ax.axvline(edge, color="black", linewidth=0.8, linestyle=":")
    labels = ax.get_xaxis_transform()
    for name, size, (low, high) in zip(CLUSTER_NAMES, sizes, clusters.ranges(), strict=False):
        text = f"{name}\n{size:.{int(size < 0.095)}%}"
        middle = (low + high) / 2
        ax.text(middle, 0.985, text, transform=labels, ha="center", va="top", fontsize=9)
    ax.set_ylabel("patches (%)")
    style_axes(ax)


def draw_retention(data: Sequence[DataSet]) -> Figure | None:
    """Fraction kept of each cluster, padding, time and band; None if nothing is dropped."""
    panels: dict[tuple[str, str], list[tuple[AnalyzedModel, PrunedModel]]] = {}
    for one in data:
        for model, pruned in one.pruned:
            if pruned.drops:
                panels.setdefault((one.name, pruned.label), []).append((model, pruned))
    if not panels:
        return None
    figure = Figure(figsize=(15, 2.9 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(len(panels), 4, squeeze=False, sharey="row")
    styles = series_styles(model.name for group in panels.values() for model, _ in group)
    for row, (names, group) in zip(axes, panels.items(), strict=True):
        _draw_retention_row(row, ", ".join(names), group, styles)
        row[0].set_ylim(0, min(100, row[0].get_ylim()[1]))
    return figure


def _draw_retention_row(
    row: Sequence[Axes],
    title: str,
    group: Sequence[tuple[AnalyzedModel, PrunedModel]],
    styles: dict[str, Style],
) -> None:
    width, axis = 0.8 / len(group), MelAxis.of(group[0][1].view)
    for index, (model, pruned) in enumerate(group):
        shift, (colour, marker) = (index - (len(group) - 1) / 2) * width, styles[model.name]
        bar = {"width": width, "color": colour, "error_kw": {"linewidth": 0.8}}
        shares, view = pruned.retention.all_patches, pruned.view
        for ax, statistic in zip(row, STATISTICS, strict=False):
            _draw_bars(ax, np.arange(5) + shift, shares.kept(statistic), model.name, bar)
        _draw_bars(row[0], np.arange(5, 7) + shift, pruned.retention.padding(), None, bar)
        # Under intensity and variation, lines of different models coincide: later ones have
        # dashes and smaller markers, so the first shows through.
        line = {
            "color": colour,
            "marker": marker,
            "markersize": max(2.0, 5 - 1.5 * index),
            "linestyle": (0, (3, 3)) if index else "-",
        }
        # Bands are drawn at their middle on the mel axis of the first model.
        middles = np.arange(view.grid.rows) * view.stride[0] + (view.patch[0] - 1) / 2
        if MelAxis.of(view) != axis:
            middles = np.array([axis.bin_of(MelAxis.of(view).hertz_of(m)) for m in middles])
        _draw_line(row[2], middles.tolist(), shares.kept("row"), model.name, line)
        times = [seconds_of(start * view.stride[1] + view.patch[1] // 2, view.audio)
                 for start in range(view.grid.columns)]  # fmt: skip
        _draw_line(row[3], times, shares.kept("column"), model.name, line)
    row[0].set_xticks(range(7), [*CLUSTER_NAMES, "pad-\nding", "sound"], fontsize=9)
    row[1].set_xticks(range(5), CLUSTER_NAMES, fontsize=9)
    row[0].set_ylabel("kept at the end (%)")
    for ax, by in zip(row, ("intensity", "variation", "frequency", "time"), strict=True):
        for share in {pruned.patches_left / pruned.view.grid.count for _, pruned in group}:
            ax.axhline(share * 100, color="black", linestyle=":", linewidth=1, label="of all")
        ax.set_title(f"{title}: by {by}", fontsize=9)
        style_axes(ax)
    if not any(pruned.retention.has_padding for _, pruned in group):
        row[0].text(5, 2, "none", ha="center", fontsize=9)
    row[0].legend(fontsize=9)
    axis.ticks(row[2], "x")
    row[2].set_xlim(-0.5, axis.mels - 0.5)
    row[2].set_xlabel("middle of the band (Hz)", fontsize=9)
    row[3].set_xlabel("time (s)", fontsize=9)
    for ax in row[2:]:
        ax.tick_params(axis="x", labelsize=9)


def _draw_bars(
    ax: Axes, positions: np.ndarray, share: Estimate, label: str | None, style: dict[str, Any]
) -> None:
    value, error = np.nan_to_num(share.value[-1]) * 100, np.nan_to_num(share.error[-1]) * 100
    whiskers = [np.minimum(error, value), error]  # not below 0
    ax.bar(positions, value, yerr=whiskers, label=label, **style)


def _draw_line(
    ax: Axes, positions: Sequence[float], share: Estimate, label: str, style: dict[str, Any]
) -> None:
    value, error = share.value[-1] * 100, np.nan_to_num(share.error[-1]) * 100
    ax.errorbar(positions, value, yerr=error, label=label, capsize=2, **style)
