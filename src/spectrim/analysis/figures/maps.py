"""Figure 3: the log-mel of a clip with dropped patches blanked, for each model and score."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...pruning.grid import PATCH
from ..examples import Example, Picture
from .style import HERTZ, after, colour_map, mel_of, seconds_of

CELL = (2.75, 1.9)  # inches of a panel


def draw_example(example: Example) -> Figure:
    """A row a model and score: the input, then what is left after each pruning."""
    pictures = example.pictures
    columns = max(len(picture.stays) for picture in pictures)
    figure = Figure(
        figsize=(CELL[0] * columns + 1.2, CELL[1] * len(pictures) + 1.0), layout="constrained"
    )
    axes = figure.subplots(len(pictures), columns, squeeze=False)
    low = min(picture.features.min() for picture in pictures)
    high = max(picture.features.max() for picture in pictures)
    image = None
    for number, (row, picture) in enumerate(zip(axes, pictures, strict=True), 1):
        for ax in row:
            ax.set_axis_off()
        for at in range(len(picture.stays)):
            image = _panel(row[at], picture, at, low, high)
            if at:
                row[at].set_yticklabels([])
                row[at].set_ylabel("")
        if number < len(pictures):
            for ax in row:
                ax.set_xlabel("")
    if image is not None:
        bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01, aspect=40)
        bar.set_label("normalised log-mel (grey: dropped)")
    label = ", ".join(example.clip.labels) or "no label"
    figure.suptitle(f"{example.clip.path.name}, label: {label}", fontsize=12, fontweight="bold")
    return figure


def blanked(picture: Picture, at: int) -> np.ma.MaskedArray:
    """(mels, frames) log-mel; masked where no patch that is left after stage `at` lies."""
    shown = np.zeros(picture.features.shape, bool)  # (frames, mels)
    stride = picture.view.stride
    for column, row in np.argwhere(picture.stays[at]):
        x, y = column * stride[1], row * stride[0]
        shown[x : x + PATCH, y : y + PATCH] = True
    if at == 0:  # the last frames and bins may lie in no patch; the input shows them all the same
        shown[:] = True
    return np.ma.masked_array(picture.features, ~shown).T


def _panel(ax: Axes, picture: Picture, at: int, low: float, high: float) -> AxesImage:
    frames, mels = picture.features.shape
    ax.set_axis_on()
    extent = (seconds_of(0), seconds_of(frames), -0.5, mels - 0.5)
    image = ax.imshow(
        blanked(picture, at),
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap=colour_map(),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    if picture.valid < frames:
        ax.axvline(seconds_of(picture.valid), color="#D55E00", linestyle="--", linewidth=1.2)
    ax.set_yticks([mel_of(hertz) for hertz in HERTZ], [str(hertz) for hertz in HERTZ])
    ax.set_ylim(-0.5, mels - 0.5)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("frequency (Hz)")
    ax.tick_params(labelsize=8)
    ax.set_title(_title(picture, at), fontsize=8.5)
    return image


def _title(picture: Picture, at: int) -> str:
    if at == 0:
        return f"{picture.model}\nunpruned: {_said(picture.plain)}"
    left, count = int(picture.stays[at].sum()), picture.stays[at].size
    head = f"{picture.score}, {after(picture.blocks[at - 1])}\n{left} of {count} patches left"
    return f"{head}: {_said(picture.pruned)}" if at == len(picture.blocks) else head


def _said(answer: tuple[str, float]) -> str:
    return f"{answer[0]} ({answer[1]:.0%})"
