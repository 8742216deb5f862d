"""Figure 6: log histograms of (mean, std), input against retained patches, same axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analyze import DataSet, drops
from ..histograms import SHOWN
from ..subject import Run, Subject
from .style import MAP, bare

COLUMNS = ((0, False), (-1, False), (0, True), (-1, True))
HEADS = ("input", "retained", "input, no padding", "retained, no padding")


def draw_joint(data: DataSet) -> Figure | None:
    """A row a model and score; None where nothing is dropped."""
    runs = [(subject, run) for subject in data.subjects for run in subject.runs if drops(run)]
    if not runs:
        return None
    figure = Figure(figsize=(11.5, 2.5 * len(runs) + 0.9), layout="constrained")
    axes = figure.subplots(len(runs), 4, squeeze=False)
    top = max(run.joint.density(*column).max() for _, run in runs for column in COLUMNS)
    images = [_row(row, subject, run, top) for row, (subject, run) in zip(axes, runs, strict=True)]
    for ax in axes[-1]:
        ax.set_xlabel("patch mean (log-mel)", fontsize=8)
    bar = figure.colorbar(images[0], ax=axes, fraction=0.02, pad=0.01)
    bar.set_label("log(1 + density)")
    figure.suptitle(f"{data.name}: patches by mean and std", fontsize=11)
    return figure


def _row(row: Sequence[Axes], subject: Subject, run: Run, top: float):  # type: ignore[no-untyped-def]
    means, stds = run.joint.edges
    image = None
    for ax, (place, sound), head in zip(row, COLUMNS, HEADS, strict=True):
        density = run.joint.density(place, sound)
        image = ax.pcolormesh(
            means, stds, density.T, cmap=MAP, vmin=0, vmax=top or 1, rasterized=True
        )
        counts = run.joint.counts[place, 1 if sound else slice(None)].sum()
        ax.set_ylim(stds[0], stds[0] + SHOWN * (stds[-1] - stds[0]))
        name = f"{subject.name}, {run.score}\n" if not place and not sound else "\n"
        ax.set_title(f"{name}{head}: {counts:,}", fontsize=8.5)
        ax.tick_params(labelsize=8)
        bare(ax)
        ax.grid(False)
    row[0].set_ylabel("patch std", fontsize=8)
    return image
