"""Windows of a fixed length over a sound of any length, without loading the whole sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import SpectrimError
from .channels import MIX, Channel
from .constants import SAMPLE_RATE
from .decode import Sound, blocks, check_length, sound_name

TOLERANCE = 0.01  # seconds past a window that add no frame


@dataclass(frozen=True)
class Window:
    """A part of a sound: `samples` (samples,) float32, from `start` to `end` seconds."""

    start: float
    end: float
    samples: np.ndarray


def windows(
    sound: Sound,
    size: int,
    hop: int | None = None,
    channel: Channel = MIX,
    start: float | None = None,
    end: float | None = None,
    rate: int = SAMPLE_RATE,
) -> Iterator[Window]:
    """Cut a sound into windows of `size` samples, `hop` samples apart (default: `size`).

    A tail of at least half a window becomes a shorter last window. With a shorter tail, the last
    window moves back and ends with the sound. A sound shorter than a window becomes one shorter
    window. Less than 10 ms past a window add no frame, so they add no window either: they belong
    to the last window, which models cut to `size` samples.

    Args:
        start, end: seconds of the part of the sound that is cut; None: from its start, to its end.
        rate: sample rate in Hz, also of `size` and `hop`.

    Yields:
        Windows with times in seconds of the whole sound.

    Raises:
        SpectrimError: as `decode.read`; a hop below 1 or above `size`.
    """
    hop = size if hop is None else hop
    check_hop(size, hop, rate)
    tolerance = round(TOLERANCE * rate)
    held = np.zeros(0, np.float32)  # the part from sample `base` on
    base, first = 0, 0  # `first`: the sample of the part where the next window begins
    for block in blocks(sound, start, end, channel, rate):
        held = np.concatenate([held, block])
        # More than a window and its tolerance: only the next samples decide which one is the last.
        while base + len(held) >= first + size + tolerance:
            yield _window(held, base, first, first + size, start, rate)
            first += hop
        # Keep a window's length before the end, in case the last one must move back.
        drop = max(0, min(first, base + len(held) - size) - base)
        held, base = held[drop:], base + drop
    total = base + len(held)
    check_length(total, sound_name(sound), rate)
    tail = total - first
    if first and tail < size / 2:
        first = total - size
    yield _window(held, base, first, total, start, rate)


def check_hop(size: int, hop: int, rate: int) -> None:
    """Refuse a hop that is zero, or that would skip sound."""
    if not 1 <= hop <= size:
        raise SpectrimError(
            f"a hop of {hop / rate:g} s; expected at least one sample ({1 / rate:g} s) and at most "
            f"the window of {size / rate:g} s. A longer hop would skip sound."
        )


def padded(waveforms: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms of any length as one array.

    Returns:
        waveforms: (batch, longest) float32, cut to `size` samples, zero past the end of each.
        lengths: (batch,) int64 samples of each.
    """
    cut = [np.asarray(waveform, np.float32)[:size] for waveform in waveforms]
    lengths = np.array([len(waveform) for waveform in cut], np.int64)
    batch = np.zeros((len(cut), max(map(len, cut), default=0)), np.float32)
    for row, waveform in zip(batch, cut, strict=True):
        row[: len(waveform)] = waveform
    return batch, lengths


def _window(
    held: np.ndarray, base: int, first: int, last: int, start: float | None, rate: int
) -> Window:
    """The window from sample `first` to `last` of a part that begins at `start` seconds."""
    samples = held[first - base : last - base].copy()
    offset = start or 0.0
    return Window(offset + first / rate, offset + last / rate, samples)
