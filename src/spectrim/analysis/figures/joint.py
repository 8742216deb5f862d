"""Figure 6: log histograms of (mean, std), input against retained patches, same axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from ..analyze import DataSet, drops
from ..counts.histograms import SHOWN
from ..second_pass import Run, Subject
from .style import MAP, bare

COLUMNS = ((0, False), (-1, False), (0, True), (-1, True))
HEADS = ("input", "retained", "input, no padding", "retained, no padding")


def draw_joint(data: DataSet) -> Figure | None:
    """A row a model and score; None where nothing is dropped."""
    runs = [(subject, run) for subject in data.subjects for run in subject.runs if drops(run)]
    if not runs:
        return None
    padded = any(run.joint.counts[0, 0].any() for _, run in runs)
    pairs = (COLUMNS[:2], COLUMNS[2:])[: 1 + padded]  # that are compared, and share a scale
    columns = 2 * len(pairs)
    size = (2.9 * columns + 0.2, 2.5 * len(runs) + 1.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(runs), columns, squeeze=False)
    tops = [max(r.joint.density(*c).max() for _, r in runs for c in pair) for pair in pairs]
    for row, (subject, run) in zip(axes, runs, strict=True):
        images = _row(row, subject, run, [top for top in tops for _ in range(2)])
    for ax in axes[-1]:
        ax.set_xlabel("patch mean (log-mel)", fontsize=8)
    for at, image in enumerate(images[::2]):
        those = axes[:, 2 * at : 2 * at + 2]
        bar = figure.colorbar(image, ax=those, location="bottom", shrink=0.8, aspect=40, pad=0.01)
        bar.set_label("log(1 + density)", fontsize=8)
    figure.suptitle(f"{data.name}: patches by mean and std", fontsize=11)
    return figure


def _row(row: Sequence[Axes], subject: Subject, run: Run, tops: Sequence[float]) -> list[QuadMesh]:
    means, stds = run.joint.edges
    images = []
    for ax, (place, sound), head, top in zip(row, COLUMNS, HEADS, tops, strict=False):
        density = run.joint.density(place, sound)
        image = ax.pcolormesh(
            means, stds, density.T, cmap=MAP, vmin=0, vmax=top or 1, rasterized=True
        )
        images.append(image)
        counts = run.joint.counts[place, 1 if sound else slice(None)].sum()
        ax.set_ylim(stds[0], stds[0] + SHOWN * (stds[-1] - stds[0]))
        name = f"{subject.name}, {run.score}\n" if not place and not sound else "\n"
        ax.set_title(f"{name}{head}: {counts:,}", fontsize=8.5)
        ax.tick_params(labelsize=8)
        bare(ax)
        ax.grid(False)
    row[0].set_ylabel("patch std", fontsize=8)
    return images
