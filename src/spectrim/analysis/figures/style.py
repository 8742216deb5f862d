"""What all figures share: colours, axes in seconds and hertz, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from ...audio.constants import LOW_HZ, MELS, SAMPLE_RATE, SHIFT, WINDOW
from ...common.files import save
from ...evaluation.figure import save_png, verbatim

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers tell apart; markers and dashes for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#7F7F7F"
MAP = "viridis"
CLUSTER_COLOURS = tuple(matplotlib.colormaps["cividis"](np.linspace(0, 1, 5)).tolist())
HERTZ = (100, 500, 1000, 2000, 4000)
NAMES = {"mean": "intensity (mean)", "std": "variation (std)"}
TO_NAMES = {"mean": "patch mean of normalised log-mel", "std": "patch std of normalised log-mel"}


def looks_of(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each model, the same in every figure of an analysis."""
    # From the seventh on markers are one ahead: of 36 no two look alike.
    return {
        name: (COLOURS[at % len(COLOURS)], MARKERS[(at + at // len(COLOURS)) % len(MARKERS)])
        for at, name in enumerate(dict.fromkeys(models))
    }


def save_figure(folder: Path, name: str, figure: Figure) -> list[Path]:
    """Write a figure as PNG and as PDF, neither with the time of day in it."""
    png = save_png(folder / f"{name}.png", figure)
    figure.set_layout_engine("none")  # what it laid out stays; a second time would double the wait
    about = {"CreationDate": None, "Producer": None, "Creator": "spectrim"}
    pdf = folder / f"{name}.pdf"
    with verbatim(figure):
        save(pdf, lambda aside: figure.savefig(aside, metadata=about, dpi=200))
    return [png, pdf]


def mel_of(hertz: float) -> float:
    """The place of a frequency on an axis of mel bins, whose bin i reaches from i - .5 to i + .5.

    The centres of the 128 bins lie evenly in mel between 20 Hz and Nyquist, both left out.
    """
    low, high, wanted = (1127.0 * math.log1p(f / 700.0) for f in (LOW_HZ, SAMPLE_RATE / 2, hertz))
    return (wanted - low) / (high - low) * (MELS + 1) - 1


def seconds_of(frame_edge: float) -> float:
    """Seconds at the left edge of a frame: its centre is half a window after its first sample."""
    return (frame_edge * SHIFT + (WINDOW - SHIFT) / 2) / SAMPLE_RATE


def bare(ax: Axes) -> None:
    """A light grid, and no frame above and to the right."""
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def colour_map() -> Colormap:
    """The map of log-mel values; what is blanked is light grey, a colour that it lacks."""
    return matplotlib.colormaps[MAP].with_extremes(bad="#E6E6E6")


def after(place: int | str) -> str:
    """Where a stage stands, in the paper's count from 1."""
    return "at the input" if place == "input" else f"in block {int(place) + 1}"
