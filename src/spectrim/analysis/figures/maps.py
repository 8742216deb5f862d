"""Figure 3: the log-mel of a clip with dropped patches blanked, for each model and score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...pruning.patches import PATCH
from ..examples import Example, Picture
from .style import HERTZ, after, colour_map, mel_of, seconds_of

CELL = (2.75, 1.9)  # inches of a panel


def draw_example(example: Example) -> Figure:
    """A row a model and score: the input, then what is left after each pruning.

    Models that keep the same patches by the same score, as they do where the score does not ask
    the model, share a row.
    """
    pictures, rows = example.pictures, _alike(example.pictures)
    columns = max(len(picture.stays) for picture in pictures)
    height = CELL[1] * len(rows) + 0.17 * sum(len(row) - 1 for row in rows) + 1.0
    figure = Figure(figsize=(CELL[0] * columns + 1.2, height), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    low = min(picture.features.min() for picture in pictures)
    high = max(picture.features.max() for picture in pictures)
    image = None
    for number, (panels, those) in enumerate(zip(axes, rows, strict=True), 1):
        for ax in panels:
            ax.set_axis_off()
        for at in range(len(those[0].stays)):
            image = _panel(panels[at], those, at, low, high)
            if at:
                panels[at].set_yticklabels([])
                panels[at].set_ylabel("")
        if number < len(rows):
            for ax in panels:
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


def _alike(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """The pictures, those that show the same under the same score together."""
    found: dict[tuple[object, ...], list[Picture]] = {}
    for picture in pictures:
        view = (picture.features.shape, picture.view.stride, picture.valid)
        shows = (*view, picture.score, tuple(picture.blocks), picture.stays.tobytes())
        found.setdefault(shows, []).append(picture)
    return list(found.values())


def _panel(ax: Axes, those: Sequence[Picture], at: int, low: float, high: float) -> AxesImage:
    picture = those[0]
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
    ax.set_title(_title(those, at), fontsize=8.5)
    return image


def _title(those: Sequence[Picture], at: int) -> str:
    picture = those[0]
    if at == 0:
        said = [f"{one.model}, unpruned: {_said(one.plain)}" for one in those]
        return "\n".join(said)
    left, count = int(picture.stays[at].sum()), picture.stays[at].size
    head = f"{picture.score}, {after(picture.blocks[at - 1])}: {left} of {count} patches"
    if at < len(picture.blocks):
        return head
    said = [f"{one.model}: {_said(one.pruned)}" for one in those]
    return "\n".join([head, *said])


def _said(answer: tuple[str, float]) -> str:
    return f"{answer[0]} ({answer[1]:.0%})"
