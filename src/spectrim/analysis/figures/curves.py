"""Figure 4, tau by block; and the attention that kept and dropped patches receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...assets.published import paper_file
from ...common.palette import COLOURS, GREY, MARKERS, Style, series_styles
from ...metrics.jackknife import Estimate
from ..analyze import DataSet
from ..counts.attention_counts import TauCounts
from ..inputs import FAMILY_NAMES, family_name
from ..patch_statistics import STATISTICS
from ..second_pass import AnalyzedModel, PrunedModel
from .style import BLOCK_AXIS, BLOCK_AXIS_WITH_PAPER, NAMES, in_block, style_axes

TITLES = {
    "paper": "tau as in the paper (equal clusters count as concordant)",
    "tau-b": "tau-b (ties left out)",
}
DASHES = {"AS-20K": "-", "SPC-2": "--", "ESC-50": ":", "VoxCeleb-1": "-."}


@dataclass(frozen=True)
class _Line:
    """Tau of a model on a data set: unpruned, or pruned by a score."""

    family: str
    model: str
    label: str
    counts: TauCounts


def draw_tau(
    data: Sequence[DataSet],
    definition: str,
    patches: int = 0,
    paper: bool = False,
    pruned: bool = False,
) -> Figure:
    """Tau by block: one row per statistic, one column per family, one line per model and data set.

    Args:
        definition: a key of `kendall.DEFINITIONS`.
        patches: 0: all, as in the paper; 1: those that contain sound.
        paper: draw the published curves too.
        pruned: draw the pruned models, one line per score, instead of the unpruned ones.
    """
    lines = _pruned_lines(data) if pruned else _unpruned_lines(data)
    styles = _styles(lines, pruned)
    present = {line.family for line in lines}
    known = [name for name in FAMILY_NAMES.values() if name in present]
    families = known + sorted(present.difference(known))
    figure = Figure(figsize=(5.6 * len(families) + 0.4, 7.0), layout="constrained")
    axes = figure.subplots(2, len(families), squeeze=False, sharex=True, sharey=True)
    lowest = -0.3
    for panels, family in zip(axes.T, families, strict=True):
        for row, (ax, statistic) in enumerate(zip(panels, STATISTICS, strict=True)):
            if paper:
                _draw_published(ax, family, statistic)
            for line in lines:
                if line.family == family:
                    tau = line.counts.tau(definition)
                    lowest = min(lowest, np.nanmin(tau.value, initial=0.0))
                    _draw_curve(ax, tau, row, patches, line.label, styles[line.label])
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set_title(f"{family}: attention against {NAMES[statistic]}", fontsize=10)
            style_axes(ax)
        panels[-1].set_xlabel(BLOCK_AXIS_WITH_PAPER if paper else BLOCK_AXIS)
        panels[-1].legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    for ax in axes[:, 0]:
        ax.set_ylabel("Kendall's tau")
    axes[0, 0].set_ylim(lowest - 0.05, 1.02)
    without = ", padding left out" if patches else ""
    models = "pruned models" if pruned else "unpruned models"
    figure.suptitle(f"{TITLES[definition]}{without}; {models}", fontsize=11)
    return figure


def _unpruned_lines(data: Sequence[DataSet]) -> list[_Line]:
    return [
        _Line(family_name(model.unpruned), model.name, f"{model.name}, {one.name}", model.tau)
        for one in data
        for model in one.models
    ]


def _pruned_lines(data: Sequence[DataSet]) -> list[_Line]:
    return [
        _Line(family_name(model.unpruned), model.name,
              f"{model.name}, {one.name}, {pruned.label}", pruned.tau)
        for one in data
        for model, pruned in one.pruned
        if pruned.tau
    ]  # fmt: skip


def _styles(lines: Sequence[_Line], pruned: bool) -> dict[str, Style]:
    """The style of each model if it has a single line; the other figures use the same style."""
    labels, models = [line.label for line in lines], [line.model for line in lines]
    if pruned or len(set(models)) < len(models):
        return series_styles(labels)
    return dict(zip(labels, series_styles(models).values(), strict=True))


def _draw_curve(ax: Axes, tau: Estimate, row: int, patches: int, label: str, style: Style) -> None:
    value, error = tau.value[:, row, patches], tau.error[:, row, patches]
    ax.errorbar(
        np.arange(len(value)),
        value,
        yerr=np.where(np.isfinite(error), error, 0),
        color=style[0],
        marker=style[1],
        markersize=5,
        capsize=2,
        label=label,
    )
    ax.set_xticks(range(len(value)))


def _draw_published(ax: Axes, family: str, statistic: str) -> None:
    for name, curve in paper_file("figure4")["tau"].get(family, {}).get(statistic, {}).items():
        label = f"{family}, {name} (paper)"
        ax.plot(curve, color=GREY, linestyle=DASHES[name], linewidth=1.3, label=label)


def draw_received(data: Sequence[DataSet]) -> Figure | None:
    """Attention of kept patches over attention of dropped ones; None if no model drops patches.

    One panel per data set, one bar per model, score and pruning stage.
    """
    panels = {
        one.name: [(m, p) for m, p in one.pruned if p.drops and p.received.sums.any()]
        for one in data
    }
    panels = {name: pruned for name, pruned in panels.items() if pruned}
    if not panels:
        return None
    rows = sum(map(len, panels.values()))
    figure = Figure(figsize=(8.2, 0.62 * rows + 1.0 * len(panels) + 0.8), layout="constrained")
    heights = {"height_ratios": [len(pruned) + 0.8 for pruned in panels.values()]}
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, gridspec_kw=heights)[:, 0]
    for ax, (name, pruned) in zip(axes, panels.items(), strict=True):
        _received_panel(ax, name, pruned)
    axes[0].legend(fontsize=9, loc="best", title="kept against dropped", title_fontsize=9)
    axes[-1].set_xlabel("attention received, kept / dropped patch (log scale; 1: equal)")
    return figure


def _received_panel(
    ax: Axes, title: str, rows: Sequence[tuple[AnalyzedModel, PrunedModel]]
) -> None:
    labelled: set[str] = set()
    for row, (_, pruned) in enumerate(rows):
        ratio, stages = pruned.received.ratio(), len(pruned.blocks)
        for stage, block in enumerate(pruned.blocks):
            value, error = ratio.value[stage], ratio.error[stage]
            if not np.isfinite(value) or value <= 0:
                continue
            label = in_block(block)
            ax.errorbar(
                value,
                row + (stage - (stages - 1) / 2) * 0.22,
                # Omit a whisker that reaches 0, because it has no end on a log axis.
                xerr=[[error if error < value else 0], [error]] if np.isfinite(error) else None,
                color=COLOURS[stage % len(COLOURS)],
                marker=MARKERS[stage % len(MARKERS)],
                linestyle="none",
                capsize=2,
                label=None if label in labelled else label,
            )
            labelled.add(label)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    names = [f"{model.name}\n{pruned.label}" for model, pruned in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=9)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_title(title, fontsize=10)
    style_axes(ax)
