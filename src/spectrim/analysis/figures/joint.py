"""Figure 6: log histograms of (mean, std), input against kept patches, on the same axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from ..analyze import DataSet
from ..counts.histograms import STD_SHOWN
from ..second_pass import AnalyzedModel, PrunedModel
from .style import MAP, style_axes

HEADS = ("input", "kept", "input, no padding", "kept, no padding")


def draw_joint(data: DataSet) -> Figure | None:
    """One row per model and score; None if nothing is dropped."""
    rows = [(model, pruned) for model, pruned in data.pruned if pruned.drops]
    if not rows:
        return None
    has_padding = any(pruned.joint.counts[0, 0].any() for _, pruned in rows)
    columns = 4 if has_padding else 2
    size = (2.9 * columns + 0.2, 2.5 * len(rows) + 1.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    # (rows, columns, 20, 20); the two columns of a pair are compared, so they share a scale.
    counts = np.stack([_panel_counts(pruned)[:columns] for _, pruned in rows])
    tops = [
        max(
            pruned.joint.log_density(panel).max()
            for (_, pruned), panels in zip(rows, counts, strict=True)
            for panel in panels[pair : pair + 2]
        )
        for pair in range(0, columns, 2)
    ]
    for row, (model, pruned), panels in zip(axes, rows, counts, strict=True):
        images = _draw_row(row, model, pruned, panels, np.repeat(tops, 2).tolist())
    for ax in axes[-1]:
        ax.set_xlabel("patch mean (log-mel)", fontsize=9)
    for first, image in zip(range(0, columns, 2), images[::2], strict=True):
        pair = axes[:, first : first + 2]
        bar = figure.colorbar(image, ax=pair, location="bottom", shrink=0.8, aspect=40, pad=0.01)
        bar.set_label("log(1 + density)", fontsize=9)
    figure.suptitle(f"{data.name}: patches by mean and std", fontsize=11)
    return figure


def _panel_counts(pruned: PrunedModel) -> np.ndarray:
    """(4, 20, 20) counts of the panels in `HEADS`."""
    first, last = pruned.joint.counts[0], pruned.joint.counts[-1]
    return np.stack([first.sum(0), last.sum(0), first[1], last[1]])


def _draw_row(
    row: Sequence[Axes],
    model: AnalyzedModel,
    pruned: PrunedModel,
    panels: np.ndarray,
    tops: Sequence[float],
) -> list[QuadMesh]:
    means, stds = pruned.joint.edges
    images = []
    for index, (ax, counts, top) in enumerate(zip(row, panels, tops, strict=True)):
        density = pruned.joint.log_density(counts)
        image = ax.pcolormesh(
            means, stds, density.T, cmap=MAP, vmin=0, vmax=top or 1, rasterized=True
        )
        images.append(image)
        ax.set_ylim(stds[0], stds[0] + STD_SHOWN * (stds[-1] - stds[0]))
        name = "" if index else f"{model.name}, {pruned.label}"
        ax.set_title(f"{name}\n{HEADS[index]}: {counts.sum():,}", fontsize=9)
        ax.tick_params(labelsize=9)
        style_axes(ax)
        ax.grid(False)
    row[0].set_ylabel("patch std", fontsize=9)
    return images
