"""The figure of a grid: metric against MACs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.files import save
from ..common.palette import score_styles
from ..experiments.definition import Experiment
from ..experiments.grid_numbers import Entry

CONDITIONS = {"shelf": "without fine-tuning", "tuned": "fine-tuned"}


def draw_table1(grid: Experiment, entries: Sequence[Entry], path: Path) -> bool:
    """Metric against GMACs, a panel a column, a colour a score, filled where fine-tuned.

    Fine-tuned figures are of the repetitions that have a control, so that the eye compares alike.

    Returns whether there was anything to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    names = [name for name in grid.definition.columns if any(e.column == name for e in entries)]
    if not names:
        return False
    wide = min(4, len(names))
    high = -(-len(names) // wide)
    size = max(3.1 * wide, 7.5), 2.9 * high  # inches; the legend needs the width
    figure, axes = plt.subplots(high, wide, figsize=size, squeeze=False)
    styles = score_styles(grid.definition.scores)
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(axes.flat, names, strict=False):
        column_entries: list[Entry] = [e for e in entries if e.column == name]
        for condition, style in (("shelf", "--"), ("tuned", "-")):
            for score in grid.definition.scores:
                points = sorted((e.gmacs, e.paired, e.paired_error) for e in column_entries
                                if (e.condition, e.score) == (condition, score))  # fmt: skip
                if points:
                    colour, marker = styles[score]
                    x, y, error = zip(*points, strict=True)
                    panel.errorbar(
                        x, y, error, color=colour, linestyle=style, marker=marker,
                        markersize=3.5, linewidth=1.2, elinewidth=0.7,
                        fillstyle="full" if condition == "tuned" else "none",
                        label=f"{score}, {CONDITIONS[condition]}",
                    )  # fmt: skip
        for condition, symbol in (("baseline", "k*"), ("control", "kD")):
            for e in column_entries:
                if e.condition == condition:
                    panel.errorbar(e.gmacs, e.value, e.error, fmt=symbol, markersize=6,
                                   elinewidth=0.7, label=condition)  # fmt: skip
        column: Any = grid.definition.columns[name]
        panel.set_ylabel(column_entries[0].metric, fontsize=8)
        panel.set_title(f"{column.model}, {column.task}", fontsize=9)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.tick_params(labelsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("GMACs per clip", fontsize=8)
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        handles |= {
            text: handle for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
        }
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=4, fontsize=8,
                  frameon=False)  # fmt: skip
    figure.tight_layout(rect=(0, 0.14 if high == 1 else 0.09, 1, 1))
    save(path, lambda aside: figure.savefig(aside, dpi=110))
    plt.close(figure)
    return True
