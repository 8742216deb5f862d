"""The figure of a sweep: metric against MACs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

from ..common.files import save
from ..common.palette import score_styles, series_styles
from ..pruning.saved_plans import is_unpruned, mean_gmacs, method_of

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

NAMES = {"mAP": "mAP", "accuracy": "Accuracy (%)", "agreement": "Same top class as unpruned (%)"}


def draw_sweep(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Draw metric against GMACs into a PNG or PDF; for exported files against measured time.

    One panel per model and one line per method. Thin vertical lines are 95 % intervals of the
    difference from the unpruned model. Exported files share one panel, with one point per file.
    """
    if all("against" in row for row in rows):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        ax = figure.subplots()
        _files_panel(ax, rows)
        _cut(ax, rows[0]["metric"])
        return save_png(path, figure)
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(5.2 * len(models) + 0.4, 4.0), layout="constrained")
    alike = len({row["metric"] for row in rows}) == 1
    axes = figure.subplots(1, len(models), squeeze=False, sharey=alike)[0]
    for ax, model in zip(axes, models, strict=True):
        _panel(ax, model, [row for row in rows if row["model"] == model])
    for ax in axes:  # after all panels, because they may share the axis
        _cut(ax, rows[0]["metric"] if alike else None)
    return save_png(path, figure)


def save_png(path: Path, figure: Figure) -> Path:
    """Write a figure with all texts verbatim, see `verbatim`."""
    with verbatim(figure):
        return save(path, lambda aside: figure.savefig(aside, dpi=150))


@contextmanager
def verbatim(figure: Figure) -> Iterator[None]:
    """Draw texts verbatim: names of files and classes are not formulas, and may hold any character.

    This includes tick labels, so a log axis needs a formatter of plain numbers. Characters that the
    font lacks are drawn as boxes, without warnings.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(text.get_text().encode("utf-8", "replace").decode())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _panel(ax: Axes, model: str, rows: Sequence[dict[str, Any]]) -> None:
    full = [row for row in rows if row["keep_rate"] == 1.0]
    scale = 1.0 if rows[0]["metric"] == "mAP" else 100.0
    pruned = [row for row in rows if not is_unpruned(row)]
    for method, (colour, marker) in score_styles(map(method_of, pruned)).items():
        line = sorted(
            (row for row in pruned if method_of(row) == method), key=lambda row: row["gmacs"]
        )
        _draw_intervals(ax, line, scale, colour)
        line += full
        points = [(mean_gmacs(row), row["value"] * scale) for row in line]
        ax.plot(*zip(*points, strict=True), color=colour, marker=marker, label=method)
    for row in full:
        ax.plot(
            row["gmacs"],
            row["value"] * scale,
            "*",
            color="black",
            markersize=13,
            label="unpruned",
            zorder=5,
        )
    _dress(ax, model, rows[0]["metric"])


def _draw_intervals(ax: Axes, rows: Sequence[dict[str, Any]], scale: float, colour: str) -> None:
    """Draw the 95 % interval of each row's difference from the unpruned model, around its value."""
    for row in rows:
        if difference := row.get("difference"):
            unpruned = row["value"] - difference["value"]
            ends = [(unpruned + difference[end]) * scale for end in ("low", "high")]
            ax.plot([mean_gmacs(row)] * 2, ends, color=colour, linewidth=0.8, alpha=0.6)


def _files_panel(ax: Axes, rows: Sequence[dict[str, Any]]) -> None:
    scale = 1.0 if rows[0]["metric"] == "mAP" else 100.0
    styles = series_styles(row["model"] for row in rows)
    # Against time, because int8 saves time but no multiplications.
    timed = [row for row in rows if row["ms_per_clip"] is not None]
    cost = "ms_per_clip" if timed else "gmacs"
    for row in timed or rows:
        colour, marker = styles[row["model"]]
        point = (row[cost], row["value"] * scale)
        ax.plot(*point, marker, color=colour, label=row["model"], linestyle="none")
    _dress(ax, "exported files", rows[0]["metric"])
    if timed:
        ax.set_xlabel("measured ms per clip")
    if rows[0]["metric"] == "agreement":
        ax.set_ylabel("Same top class as the first file (%)")


def _dress(ax: Axes, title: str, metric: str) -> None:
    ax.set(title=title, xlabel="GMACs per clip", ylabel=NAMES[metric])
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _cut(ax: Axes, metric: str | None) -> None:
    """Cut the axis just above the maximum of the metric."""
    if metric is not None:
        ax.set_ylim(top=min(ax.get_ylim()[1], 1.01 if metric == "mAP" else 101.0))
