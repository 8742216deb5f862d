"""Figure 3: the log-mel of a clip with dropped patches blanked, for each model and score.

Patches that were merged into one token have a frame of one colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...common.palette import ORANGE, PURPLE, SKY, VERMILION
from ..examples import Example, Picture
from .style import LOG_MEL_COLOURS, MelAxis, in_block, seconds_of

PANEL = (2.75, 1.9)  # inches
MOST_STAGES = 4  # of a plan that prunes in every block
FINE = 8  # steps along a patch's side
FRAME_COLOURS = (ORANGE, SKY, "white", VERMILION, PURPLE, "#F0E442")  # legible on dark colours


def draw_example(example: Example) -> Figure:
    """One row per model and score: the input, then the patches left after each pruning.

    Models that keep the same patches by the same score share a row, for example if the score does
    not depend on the model.
    """
    pictures, rows = example.pictures, _grouped(example.pictures)
    columns = max(len(_shown_stages(picture)) for picture in pictures)
    height = PANEL[1] * len(rows) + 0.17 * sum(len(row) - 1 for row in rows) + 1.0
    figure = Figure(figsize=(PANEL[0] * columns + 1.2, height), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    low = min(picture.features.min() for picture in pictures)
    high = max(picture.features.max() for picture in pictures)
    for number, (panels, group) in enumerate(zip(axes, rows, strict=True), 1):
        for ax in panels:
            ax.set_axis_off()
        for ax, stage in zip(panels, _shown_stages(group[0]), strict=False):
            image = _draw_panel(ax, group, stage, low, high)
            if stage:
                ax.set_yticklabels([])
                ax.set_ylabel("")
        if number < len(rows):
            for ax in panels:
                ax.set_xlabel("")
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01, aspect=40)
    bar.set_label("normalised log-mel (grey: dropped)")
    label = ", ".join(example.clip.labels) or "no label"
    figure.suptitle(f"{example.clip.path.name}, label: {label}", fontsize=12, fontweight="bold")
    return figure


def _shown_stages(picture: Picture) -> list[int]:
    """The input, 0, and at most four stages, the last one included."""
    stages = len(picture.blocks)
    shown = min(stages, MOST_STAGES)
    return [0] + [round(stages * (number + 1) / shown) for number in range(shown)]


def blanked(picture: Picture, stage: int) -> np.ma.MaskedArray:
    """(mels, frames) log-mel that shows only the patches left after a stage, counted from 1."""
    shown = np.zeros(picture.features.shape, bool)  # (frames, mels)
    stride, patch = picture.view.stride, picture.view.patch
    for column, row in np.argwhere(picture.kept[stage]):
        x, y = column * stride[1], row * stride[0]
        shown[x : x + patch[1], y : y + patch[0]] = True
    if stage == 0:  # show the whole input, including the last frames and bins, which fill no patch
        shown[:] = True
    return np.ma.masked_array(picture.features, ~shown).T


def _grouped(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """Pictures that show the same patches under the same score, together."""
    groups: dict[tuple[object, ...], list[Picture]] = {}
    for picture in pictures:
        view = (picture.features.shape, picture.view.stride, picture.valid)
        key = (*view, picture.score, tuple(picture.blocks), picture.holders.tobytes())
        groups.setdefault(key, []).append(picture)
    return list(groups.values())


def _draw_panel(
    ax: Axes, group: Sequence[Picture], stage: int, low: float, high: float
) -> AxesImage:
    picture = group[0]
    frames, mels = picture.features.shape
    audio = picture.view.audio
    ax.set_axis_on()
    image = ax.imshow(
        blanked(picture, stage),
        origin="lower",
        aspect="auto",
        extent=(seconds_of(0, audio), seconds_of(frames, audio), -0.5, mels - 0.5),
        cmap=LOG_MEL_COLOURS,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    if stage:
        _frame_merged(ax, picture, stage)
    if picture.valid < frames:
        end = seconds_of(picture.valid, audio)
        ax.axvline(end, color=VERMILION, linestyle="--", linewidth=1.2)
    MelAxis.of(picture.view).ticks(ax, "y")
    ax.set_xlim(seconds_of(0, audio), seconds_of(frames, audio))
    ax.set_ylim(-0.5, mels - 0.5)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("frequency (Hz)")
    ax.tick_params(labelsize=9)
    ax.set_title(_title(group, stage), fontsize=9)
    return image


def _frame_merged(ax: Axes, picture: Picture, stage: int) -> None:
    """Frame the patches of every token that holds several, in one colour for a token."""
    holders = picture.holders[stage]  # (columns, rows)
    tokens, sizes = np.unique(holders[holders >= 0], return_counts=True)
    merged = tokens[sizes > 1]
    largest_first = merged[np.argsort(-sizes[sizes > 1], kind="stable")]
    stride = picture.view.stride
    for number, token in enumerate(largest_first.tolist()):
        shape = inset(holders == token)
        places = [(np.arange(size) - 0.5) / FINE for size in shape.shape]
        ax.contour(
            [seconds_of(column * stride[1], picture.view.audio) for column in places[0]],
            places[1] * stride[0] - 0.5,
            shape.T,
            levels=[0.5],
            colors=FRAME_COLOURS[number % len(FRAME_COLOURS)],
            linewidths=1.2,
        )


def inset(mask: np.ndarray) -> np.ndarray:
    """A (columns, rows) mask in steps of 1 / FINE of a patch, smaller by one step on all sides.

    So the frames of two neighbouring tokens do not cover each other. One step of padding surrounds
    the result: (columns * FINE + 2, rows * FINE + 2).
    """
    fine = np.pad(np.kron(mask, np.ones((FINE, FINE), int)), 2).astype(bool)
    smaller = fine.copy()
    for axis in (0, 1):
        smaller = smaller & np.roll(smaller, 1, axis) & np.roll(smaller, -1, axis)
    return smaller[1:-1, 1:-1].astype(float)


def _title(group: Sequence[Picture], stage: int) -> str:
    picture = group[0]
    if stage == 0:
        return "\n".join(["unpruned", *(f"{one.model}: {_answer(one.unpruned)}" for one in group)])
    holders = picture.holders[stage]
    left = f"{np.unique(holders[holders >= 0]).size} of {holders.size} patches"
    lines = [picture.score, f"{in_block(picture.blocks[stage - 1])}: {left}"]
    if len(picture.score) <= len("intensity-padded"):
        lines = [", ".join(lines)]
    if stage == len(picture.blocks):
        lines += [f"{one.model}: {_answer(one.pruned)}" for one in group]
    return "\n".join(lines)


def _answer(top: tuple[str, float]) -> str:
    return f"{top[0]} ({top[1]:.0%})"
