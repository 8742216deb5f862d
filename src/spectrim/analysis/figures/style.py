"""What all figures share: names, axes in seconds and hertz, and how they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from ...audio.front_ends import FrontEnd
from ...audio.mel_filters import SCALES
from ...common.files import save
from ...evaluation.figure import save_png, verbatim
from ..patch_statistics import View

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MAP = "viridis"
CLUSTER_COLOURS = tuple(matplotlib.colormaps["cividis"](np.linspace(0, 1, 5)).tolist())
LOG_MEL_COLOURS = matplotlib.colormaps[MAP].with_extremes(bad="#E6E6E6")  # dropped: light grey
HERTZ = (100, 500, 1000, 2000, 4000, 8000)
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


@dataclass(frozen=True)
class MelAxis:
    """An axis of mel bins; bin i reaches from i - .5 to i + .5.

    The centres of the bins are equally spaced in mel between the lowest and the highest frequency
    of the front end, both excluded.
    """

    audio: FrontEnd
    mels: int

    @classmethod
    def of(cls, view: View) -> MelAxis:
        """The axis of a view."""
        return cls(view.audio, view.mels)

    def bin_of(self, hertz: float) -> float:
        """The position of a frequency."""
        low, high, mel = (self._mel(f) for f in (self.audio.low_hz, self.audio.high_hz, hertz))
        return (mel - low) / (high - low) * (self.mels + 1) - 1

    def hertz_of(self, position: float) -> float:
        """The frequency at a position."""
        low, high = self._mel(self.audio.low_hz), self._mel(self.audio.high_hz)
        mel = low + (position + 1) / (self.mels + 1) * (high - low)
        return SCALES[self.audio.scale][1](torch.tensor(mel, dtype=torch.float64)).item()

    def ticks(self, axis: Axes, along: str) -> None:
        """Ticks in hertz on the "x" or "y" axis."""
        set_ticks = axis.set_xticks if along == "x" else axis.set_yticks
        shown = [hertz for hertz in HERTZ if self.audio.low_hz < hertz < self.audio.high_hz]
        set_ticks([self.bin_of(hertz) for hertz in shown], [str(hertz) for hertz in shown])

    def _mel(self, hertz: float) -> float:
        return SCALES[self.audio.scale][0](torch.tensor(hertz, dtype=torch.float64)).item()


def seconds_of(frame_edge: float, audio: FrontEnd) -> float:
    """Seconds at the left edge of a frame, half a hop before its middle."""
    return audio.seconds_at(frame_edge - 0.5)


def style_axes(ax: Axes) -> None:
    """A light grid, and no frame at the top and on the right."""
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def in_block(block: int | str) -> str:
    """Position of a stage: "in block 3", or "at the input". Blocks count from 0."""
    return "at the input" if block == "input" else f"in block {block}"
