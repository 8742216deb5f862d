"""Windows of a fixed length over a sound of any length, without loading the whole sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import SpectrimError
from .channels import MIX, Channel
from .constants import SAMPLE_RATE
from .decode import Sound, blocks, check_length, sound_name


@dataclass(frozen=True)
class Window:
    """A part of a sound: `samples` (samples,) float32 at 16 kHz, from `start` to `end` seconds."""

    start: float
    end: float
    samples: np.ndarray


def windows(
    sound: Sound, size: int, hop: int | None = None, channel: Channel = MIX
) -> Iterator[Window]:
    """Cut a sound into windows of `size` samples, `hop` samples apart (default: `size`).

    A tail of at least half a window becomes a shorter last window. With a shorter tail, the last
    window moves back and ends with the sound. A sound shorter than a window becomes one shorter
    window.

    Raises:
        SpectrimError: as `decode.read`; a hop below 1 or above `size`.
    """
    hop = size if hop is None else hop
    check_hop(size, hop)
    held = np.zeros(0, np.float32)  # the sound from sample `base` on
    base, start = 0, 0  # `start`: where the next window begins
    for block in blocks(sound, channel=channel):
        held = np.concatenate([held, block])
        # Strictly more than a window: the next samples decide whether this window is the last.
        while base + len(held) > start + size:
            yield _window(held, base, start, start + size)
            start += hop
        # Keep a window's length before the end, in case the last one must move back.
        drop = max(0, min(start, base + len(held) - size) - base)
        held, base = held[drop:], base + drop
    total = base + len(held)
    check_length(total, sound_name(sound))
    tail = total - start
    if start and tail < size / 2:
        start = total - size
    yield _window(held, base, start, total)


def check_hop(size: int, hop: int) -> None:
    """Refuse a hop that is zero, or that would skip sound."""
    if not 1 <= hop <= size:
        raise SpectrimError(
            f"a hop of {hop / SAMPLE_RATE:g} s; expected more than 0 and at most the window of "
            f"{size / SAMPLE_RATE:g} s. A longer hop would skip sound."
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


def _window(held: np.ndarray, base: int, start: int, end: int) -> Window:
    samples = held[start - base : end - base].copy()
    return Window(start / SAMPLE_RATE, end / SAMPLE_RATE, samples)
