"""Figure 4, tau by block; and the attention that kept and dropped patches receive."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...metrics.jackknife import Estimate
from ..analyze import DataSet, drops
from ..patches import STATISTICS
from ..second_pass import Run, Subject
from .style import COLOURS, GREY, MARKERS, NAMES, after, bare, looks_of

FAMILIES = {True: "AST", False: "AudioMAE"}
TITLES = {
    "paper": "tau as in the paper (equal clusters count as concordant)",
    "tau-b": "tau-b (ties left out)",
}
DASHES = {"AS-20K": "-", "SPC-2": "--", "ESC-50": ":", "VoxCeleb-1": "-."}


@functools.cache
def published() -> dict[str, Any]:
    """The paper's Figure 4: "tau" by family, statistic and data set, and its "source"."""
    file = resources.files("spectrim.assets") / "paper" / "figure4.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def draw_tau(
    found: Sequence[DataSet],
    definition: str,
    patches: int = 0,
    paper: bool = False,
    pruned: bool = False,
) -> Figure:
    """Tau by block: a row a statistic, a column a family of models, a line a model and data set.

    Args:
        definition: a key of `kendall.DEFINITIONS`.
        patches: 0: all, as the paper; 1: those that hold sound.
        paper: draw the published curves along.
        pruned: the pruned models, a line a score too, instead of the unpruned ones.
    """
    lines: dict[bool, list[tuple[str, Any, tuple[str, str]]]] = {}
    looks = _looks(found, pruned)
    for data in found:
        for subject in data.subjects:
            family = subject.plain.config.has_class_token
            for name, counts in _counted(data, subject, pruned):
                lines.setdefault(family, []).append((name, counts.tau(definition), looks[name]))
    families = sorted(lines, reverse=True)
    figure = Figure(figsize=(5.6 * len(families) + 0.4, 7.0), layout="constrained")
    axes = figure.subplots(2, len(families), squeeze=False, sharex=True, sharey=True)
    for column, family in enumerate(families):
        for row, statistic in enumerate(STATISTICS):
            ax = axes[row, column]
            if paper:
                _published(ax, FAMILIES[family], statistic)
            for name, estimate, look in lines[family]:
                _curve(ax, estimate, row, patches, name, look)
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set_title(f"{FAMILIES[family]}: attention against {NAMES[statistic]}", fontsize=10)
            bare(ax)
            if column == 0:
                ax.set_ylabel("Kendall's tau")
        axes[1, column].set_xlabel("block (from 1)")
        axes[1, column].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    low = min(
        -0.3,
        *(np.nanmin(found.value, initial=0.0) for those in lines.values() for _, found, _ in those),
    )
    axes[0, 0].set_ylim(low - 0.05, 1.02)
    which = ", padding left out" if patches else ""
    models = "pruned models" if pruned else "unpruned models"
    figure.suptitle(f"{TITLES[definition]}{which}; {models}", fontsize=11)
    return figure


def _looks(found: Sequence[DataSet], pruned: bool) -> dict[str, tuple[str, str]]:
    """(colour, marker) a line: the model's own, as in the other figures, where it has one line."""
    subjects = [(data, subject) for data in found for subject in data.subjects]
    models = [subject.name for _, subject in subjects]
    names = [name for data, s in subjects for name, _ in _counted(data, s, pruned)]
    if len(set(models)) < len(models) or pruned:
        return looks_of(names)
    return dict(zip(names, looks_of(models).values(), strict=True))


def _counted(data: DataSet, subject: Subject, pruned: bool) -> list[tuple[str, Any]]:
    name = f"{subject.name}, {data.name}"
    if not pruned:
        return [(name, subject.tau)]
    return [(f"{name}, {run.score}", run.tau) for run in subject.runs if run.tau]


def _curve(
    ax: Axes, tau: Estimate, row: int, patches: int, name: str, look: tuple[str, str]
) -> None:
    value, error = tau.value[:, row, patches], tau.error[:, row, patches]
    ax.errorbar(
        np.arange(1, len(value) + 1),
        value,
        yerr=np.where(np.isfinite(error), error, 0),
        color=look[0],
        marker=look[1],
        markersize=5,
        capsize=2,
        label=name,
    )
    ax.set_xticks(range(1, len(value) + 1))


def _published(ax: Axes, family: str, statistic: str) -> None:
    for data, curve in published()["tau"][family][statistic].items():
        blocks = range(1, len(curve) + 1)
        label = f"{family}, {data} (paper)"
        ax.plot(blocks, curve, color=GREY, linestyle=DASHES[data], linewidth=1.3, label=label)


def draw_received(found: Sequence[DataSet]) -> Figure | None:
    """How many times as much attention kept patches receive; None where no model drops any.

    A panel a data set, a bar a model, score and pruning.
    """
    panels: list[tuple[DataSet, list[tuple[Subject, Run]]]] = []
    for data in found:
        runs = [(s, run) for s in data.subjects for run in s.runs if _compared(run)]
        if runs:
            panels.append((data, runs))
    if not panels:
        return None
    rows = sum(len(runs) for _, runs in panels)
    figure = Figure(figsize=(8.2, 0.62 * rows + 1.0 * len(panels) + 0.8), layout="constrained")
    heights = [len(runs) + 0.8 for _, runs in panels]
    axes = figure.subplots(
        len(panels), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for ax, (data, runs) in zip(axes[:, 0], panels, strict=True):
        _received_panel(ax, data.name, runs)
        if ax is not axes[0, 0] and (legend := ax.get_legend()):
            legend.remove()  # the first panel's stands for all
    axes[-1, 0].set_xlabel("attention received, kept / dropped patch (log scale; 1: alike)")
    return figure


def _compared(run: Run) -> bool:
    return drops(run) and bool(run.received.sums.any())


def _received_panel(ax: Axes, name: str, runs: Sequence[tuple[Subject, Run]]) -> None:
    seen: set[str] = set()
    for at, (_, run) in enumerate(runs):
        ratio, count = run.received.ratio(), len(run.places)
        for stage, place in enumerate(run.places):
            value, error = ratio.value[stage], ratio.error[stage]
            if not np.isfinite(value) or value <= 0:
                continue
            label = after(place)
            y = at + (stage - (count - 1) / 2) * 0.22
            ax.errorbar(
                value,
                y,
                # On a log axis a whisker that reaches 0 has no end: it is left out.
                xerr=[[error if error < value else 0], [error]] if np.isfinite(error) else None,
                color=COLOURS[stage % len(COLOURS)],
                marker=MARKERS[stage % len(MARKERS)],
                linestyle="none",
                capsize=2,
                label=None if label in seen else label,
            )
            seen.add(label)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    names = [f"{subject.name}\n{run.score}" for subject, run in runs]
    ax.set_yticks(range(len(runs)), names, fontsize=8)
    ax.set_ylim(len(runs) - 0.4, -0.6)
    ax.set_title(name, fontsize=10)
    ax.legend(fontsize=8, loc="best", title="kept against dropped", title_fontsize=8)
    bare(ax)
