"""A timeline: the log-mel spectrogram of a recording, and its events under it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...audio.channels import MIX, Channel
from ...audio.constants import MELS, SAMPLE_RATE, SHIFT, WINDOW
from ...audio.decode import Sound, blocks, sound_name
from ...audio.filterbank import FilterBank
from ...audio.front_ends import KALDI
from ...common.errors import SpectrimError
from ...common.palette import BLUE
from ...deploy.events import Event
from ...evaluation.figure import save_png
from .style import LOG_MEL_COLOURS, MelAxis

MOST_COLUMNS = 1500  # of the picture; frames of longer recordings are averaged
MOST_LABELS = 20
SHORTEST_BAR = 0.003  # of the width, so that a short event of a long recording is visible
LABEL_LENGTH = 28  # characters
MINUTES_FROM = 180  # seconds; longer recordings have times such as 2:30


def draw_timeline(
    path: Path,
    sound: Sound,
    events: Sequence[Event],
    span: tuple[float, float],
    channel: Channel = MIX,
) -> Path:
    """Draw the log-mel spectrogram of a recording, and one row of bars per label under it.

    A darker bar has a higher peak probability. A colour bar shows the scale.

    Args:
        path: a .png, .pdf or .svg file.
        span: start and end in seconds of the part that is drawn.
        channel: as for `features`.

    Raises:
        SpectrimError: the recording cannot be read from its start.
    """
    labels = _labels(events)
    spectrogram_height, bars_height = 2.4, 0.26 * max(1, len(labels)) + 0.2  # inches
    height = spectrogram_height + bars_height + 0.6
    figure = Figure(figsize=(10, height), layout="constrained")
    top, bottom = figure.subplots(
        2, 1, sharex=True, height_ratios=[spectrogram_height, bars_height]
    )
    columns, seconds = log_mel_columns(sound, span, channel)
    # Rare extremes, such as digital silence, would leave little contrast for the rest.
    low, high = np.quantile(columns, [0.02, 0.999])
    image = top.imshow(
        columns.T,
        origin="lower",
        aspect="auto",
        extent=(span[0], span[0] + seconds, -0.5, columns.shape[1] - 0.5),
        cmap=LOG_MEL_COLOURS,
        vmin=low,
        vmax=max(high, low + 1e-3),
        interpolation="nearest",
    )
    MelAxis(KALDI, MELS).ticks(top, "y")
    top.set_ylabel("frequency (Hz)")
    aspect = 20  # height / width of the log-mel colour bar; the other one has the same width
    figure.colorbar(image, ax=top, pad=0.01, aspect=aspect).set_label("log-mel")
    _draw_events(bottom, events, labels, span)
    if labels:
        figure.colorbar(
            ScalarMappable(Normalize(0, 1), ListedColormap([_shade(p / 99) for p in range(100)])),
            ax=bottom,
            pad=0.01,
            aspect=aspect * bars_height / spectrogram_height,
            ticks=[0, 1] if len(labels) < 4 else [0, 0.5, 1],
        ).set_label("peak")
    figure.suptitle(Path(sound_name(sound)).name, fontsize=11)
    return save_png(path, figure)


def log_mel_columns(
    sound: Sound, span: tuple[float, float], channel: Channel = MIX
) -> tuple[np.ndarray, float]:
    """The log-mel spectrogram of a recording of any length in at most `MOST_COLUMNS` columns.

    The recording is read in pieces of one column's length, so memory does not grow with it. If it
    is damaged, the columns end there.

    Returns:
        (columns, mels) logarithm of the mean energy of the frames of a column, and the seconds
        that the columns cover.
    """
    start, end = span
    frames = max(1, KALDI.num_frames(round((end - start) * SAMPLE_RATE)))
    per_column = math.ceil(frames / MOST_COLUMNS)
    filterbank = FilterBank()
    pieces = []
    # Several columns at once are faster for short ones.
    columns_per_piece = max(1, 1000 // per_column)
    for samples in _pieces(sound, span, channel, columns_per_piece * per_column * SHIFT):
        with torch.inference_mode():
            features, _ = filterbank(torch.from_numpy(samples)[None])
        groups = features[0].split(per_column)
        pieces.append(torch.stack([g.logsumexp(0) - math.log(len(g)) for g in groups]).numpy())
    if not pieces:
        raise SpectrimError(f"{sound_name(sound)}: too short to draw.")
    columns = np.concatenate(pieces)
    return columns, min(end - start, len(columns) * per_column * SHIFT / SAMPLE_RATE)


def _pieces(
    sound: Sound, span: tuple[float, float], channel: Channel, hop: int
) -> Iterator[np.ndarray]:
    """Pieces of `hop` samples, each with the samples that its last frame needs behind it."""
    held = np.zeros(0, np.float32)
    decoded = blocks(sound, span[0], span[1], channel)
    while True:
        try:
            block = next(decoded, None)
        except SpectrimError:
            block = None  # damaged from here on; the table of events reports it
        if block is None:
            break
        held = np.concatenate([held, block])
        while len(held) >= hop + WINDOW - SHIFT:
            yield held[: hop + WINDOW - SHIFT]
            held = held[hop:]
    if len(held) >= WINDOW:
        yield held


def _labels(events: Sequence[Event]) -> list[str]:
    """Labels that are drawn, by their first event; with many, those of the highest peaks."""
    peaks: dict[str, float] = {}
    for event in events:
        peaks[event.label] = max(event.peak, peaks.get(event.label, 0.0))
    highest = sorted(peaks, key=lambda label: -peaks[label])[:MOST_LABELS]
    return [label for label in peaks if label in highest]


def _draw_events(
    ax: Axes, events: Sequence[Event], labels: Sequence[str], span: tuple[float, float]
) -> None:
    shortest = SHORTEST_BAR * (span[1] - span[0])
    for row, label in enumerate(labels):
        for event in events:
            if event.label == label:
                width = max(shortest, event.end - event.start)
                ax.barh(row, width, 0.7, event.start, color=_shade(event.peak))
    ax.set_yticks(range(len(labels)), [_short(label) for label in labels])
    ax.set_ylim(max(len(labels), 1) - 0.4, -0.6)
    ax.set_xlim(*span)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if not labels:
        ax.text(0.5, 0.5, "no event", transform=ax.transAxes, ha="center", va="center")
    left_out = {event.label for event in events} - set(labels)
    note = f"; {len(left_out)} more labels with lower peaks are not shown" if left_out else ""
    if span[1] > MINUTES_FROM:
        ax.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 3, 6, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
        ax.set_xlabel(f"time (h:min:s){note}" if span[1] >= 3600 else f"time (min:s){note}")
    else:
        ax.set_xlabel(f"time (s){note}")


def _shade(peak: float) -> tuple[float, float, float, float]:
    """Colour of an event whose peak probability is `peak`. The lightest is still visible."""
    return to_rgba(BLUE, alpha=0.3 + 0.7 * peak)


def clock(seconds: float) -> str:
    """A time as "2:30", or as "1:02:30" from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…"
