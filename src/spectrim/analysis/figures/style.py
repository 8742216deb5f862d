"""What all figures share: names, axes in seconds and hertz, and how they are saved."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np

from ...audio.constants import LOW_HZ, MELS, SAMPLE_RATE, SHIFT, WINDOW
from ...common.files import save
from ...evaluation.figure import save_png, verbatim

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MAP = "viridis"
CLUSTER_COLOURS = tuple(matplotlib.colormaps["cividis"](np.linspace(0, 1, 5)).tolist())
LOG_MEL_COLOURS = matplotlib.colormaps[MAP].with_extremes(bad="#E6E6E6")  # dropped: light grey
HERTZ = (100, 500, 1000, 2000, 4000)
NAMES = {"mean": "intensity (mean)", "std": "variation (std)"}
AXIS_NAMES = {"mean": "patch mean of normalised log-mel", "std": "patch std of normalised log-mel"}
BLOCK_AXIS = "block (from 0)"
BLOCK_AXIS_WITH_PAPER = "block (from 0; the paper counts from 1)"


def save_figure(folder: Path, name: str, figure: Figure) -> list[Path]:
    """Write a figure as PNG and as PDF, both without a creation time."""
    png = save_png(folder / f"{name}.png", figure)
    figure.set_layout_engine("none")  # keep the layout; computing it again would double the time
    metadata = {"CreationDate": None, "Producer": None, "Creator": "spectrim"}
    pdf = folder / f"{name}.pdf"
    with verbatim(figure):
        save(pdf, lambda aside: figure.savefig(aside, metadata=metadata, dpi=200))
    return [png, pdf]


def mel_of(hertz: float) -> float:
    """The position of a frequency on an axis of mel bins; bin i reaches from i - .5 to i + .5.

    The centres of the 128 bins are equally spaced in mel between 20 Hz and 8000 Hz, both excluded.
    """
    low, high, mel = (1127.0 * math.log1p(f / 700.0) for f in (LOW_HZ, SAMPLE_RATE / 2, hertz))
    return (mel - low) / (high - low) * (MELS + 1) - 1


def seconds_of(frame_edge: float) -> float:
    """Seconds at the left edge of a frame: its centre is half a window after its first sample."""
    return (frame_edge * SHIFT + (WINDOW - SHIFT) / 2) / SAMPLE_RATE


def style_axes(ax: Axes) -> None:
    """A light grid, and no frame at the top and on the right."""
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def hertz_ticks(axis: Axes, along: str) -> None:
    """Ticks in hertz on the "x" or "y" axis of mel bins."""
    set_ticks = axis.set_xticks if along == "x" else axis.set_yticks
    set_ticks([mel_of(hertz) for hertz in HERTZ], [str(hertz) for hertz in HERTZ])


def in_block(block: int | str) -> str:
    """Position of a stage: "in block 3", or "at the input". Blocks count from 0."""
    return "at the input" if block == "input" else f"in block {block}"
