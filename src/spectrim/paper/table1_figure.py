"""The figure of a grid: change of the metric against keep rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.files import save
from ..common.palette import GREY, score_styles
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry
from .table1_findings import EVIDENCE, MARGIN

# Line, marker fill and horizontal shift. The shift, in keep rates, separates the error bars.
STYLES: dict[str, tuple[str, str, float]] = {
    "elastic": ("-", "full", 0.0),
    "tuned": ("none", "full", 0.012),
    "untuned": (":", "none", -0.012),
}
INCHES_PER_PANEL = 3.2, 2.9


def draw_table1(grid: Experiment, entries: Sequence[Entry], path: Path) -> bool:
    """Change in points against keep rate: one panel per column, one colour per score.

    A grey band marks changes between -1 and +1 point. The lines of elastic training begin at keep
    rate 1.0, with the change of the elastic model unpruned.

    Returns whether there was anything to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    compared = [
        entry for entry in entries if entry.condition in STYLES and entry.difference is not None
    ]
    names = [name for name in grid.definition.columns if any(e.column == name for e in compared)]
    if not names:
        return False
    wide = min(4, len(names))
    high = -(-len(names) // wide)
    size = max(INCHES_PER_PANEL[0] * wide, 7.5), INCHES_PER_PANEL[1] * high + 0.9
    figure, axes = plt.subplots(high, wide, figsize=size, squeeze=False)
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(axes.flat, names, strict=False):
        column: Any = grid.definition.columns[name]
        panel.set_title(f"{column.model}, {column.task}", fontsize=9)
        _draw_panel(panel, grid, [entry for entry in compared if entry.column == name])
    for panel in axes[:, 0]:
        panel.set_ylabel("change in points", fontsize=8)
    for index in range(max(0, len(names) - wide), len(names)):  # the lowest panel of each column
        axes.flat[index].set_xlabel("keep rate", fontsize=8)
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        handles |= {
            text: handle for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
        }
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=3, fontsize=8,
                  frameon=False)  # fmt: skip
    figure.tight_layout(rect=(0, 0.9 / size[1], 1, 1))
    save(path, lambda aside: figure.savefig(aside, dpi=110))
    plt.close(figure)
    return True


def _draw_panel(panel: Any, grid: Experiment, entries: Sequence[Entry]) -> None:
    """Lines of one column, each with error bars of one standard error."""
    panel.axhspan(-MARGIN * 100, MARGIN * 100, color=GREY, alpha=0.2, linewidth=0)
    panel.axhline(0, color=GREY, linewidth=0.8)
    styles = score_styles(grid.definition.scores)
    for condition, (line, fill, shift) in STYLES.items():
        for score, (colour, marker) in styles.items():
            points = [
                (entry.keep_rate + shift, 100 * entry.difference, 100 * entry.difference_error)
                for entry in entries
                if entry.condition == condition
                and entry.score in (score, None)  # None: unpruned, the same for all scores
                and entry.difference is not None
                and entry.difference_error is not None
            ]
            if any(x < 1 for x, *_ in points):
                x, y, error = zip(*sorted(points), strict=True)
                panel.errorbar(
                    x, y, error, color=colour, linestyle=line, marker=marker, markersize=4,
                    linewidth=1.2, elinewidth=0.7, fillstyle=fill,
                    label=f"{score}, {EVIDENCE[condition]}",
                )  # fmt: skip
    panel.set_xlim(1.02, min(grid.definition.keep_rates) - 0.04)  # pruning increases to the right
    panel.tick_params(labelsize=8)
