"""Clips that are parts of one long file, decoded in one pass over the file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np

from ..audio.constants import SAMPLE_RATE, SHORTEST
from ..audio.decode import blocks, duration_of, read
from ..common.errors import SpectrimError
from .clip import Clip

MIN_SHARE = 0.5  # clips that cover less of their file are found by seeking

Span = tuple[float, float | None]  # start and end in seconds; None: the end of the file


def decode_clips(
    clips: Sequence[Clip],
    executor: Executor,
    seconds: float | None = None,
    rate: int = SAMPLE_RATE,
) -> Iterator[np.ndarray | SpectrimError]:
    """Decode clips, and return them in order; an unreadable clip gives its error.

    The clips of one file are one task of the executor. The result is that of `decode.read`. All
    waveforms of a file are in memory until the last of them is returned.

    Args:
        seconds: at most this much of each clip; None: all of it.
        rate: sample rate in Hz.
    """
    files: dict[str, list[int]] = defaultdict(list)
    for position, clip in enumerate(clips):
        files[os.path.abspath(clip.path)].append(position)
    tasks: dict[int, tuple[Future[list[np.ndarray | SpectrimError]], int]] = {}
    for positions in files.values():
        spans = [(clips[p].start or 0.0, clips[p].end_within(seconds)) for p in positions]
        task = executor.submit(read_spans, clips[positions[0]].path, spans, rate)
        tasks |= {position: (task, row) for row, position in enumerate(positions)}
    for position in range(len(clips)):
        task, row = tasks.pop(position)
        yield task.result()[row]


def read_spans(
    path: Path, spans: Sequence[Span], rate: int = SAMPLE_RATE
) -> list[np.ndarray | SpectrimError]:
    """The parts of a file between starts and ends, in the order of `spans`.

    One pass over the file if the parts cover most of it and it has the rate asked for. Otherwise
    each part is read on its own: a resampler at the edge of a part must not see its neighbour.
    """
    waveforms: dict[int, np.ndarray] = {}
    if len(spans) > 1 and _in_one_pass(path, spans, rate):
        try:
            waveforms = dict(_cut(path, spans, rate))
        except SpectrimError:
            waveforms = {}  # a damaged file: some of its parts may still be readable
    return [
        waveforms[row] if row in waveforms else _read(path, span, rate)
        for row, span in enumerate(spans)
    ]


def _in_one_pass(path: Path, spans: Sequence[Span], rate: int) -> bool:
    import soundfile

    try:
        stored_rate = soundfile.info(os.fspath(path)).samplerate
    except (soundfile.LibsndfileError, OSError, TypeError):
        return False
    duration = duration_of(path)
    if stored_rate != rate or duration is None:
        return False
    covered = sum(min(duration if end is None else end, duration) - start for start, end in spans)
    return covered >= MIN_SHARE * duration


def _cut(path: Path, spans: Sequence[Span], rate: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of `spans` and their samples; parts that are too short for a window are left out."""
    waveform = np.concatenate(list(blocks(path, rate=rate)))
    for row, (start, end) in enumerate(spans):
        first = round(start * rate)
        part = waveform[first : None if end is None else round(end * rate)]
        if len(part) >= SHORTEST * rate:
            # Copied, because a view would keep the whole file in memory.
            yield row, part.copy()


def _read(path: Path, span: Span, rate: int) -> np.ndarray | SpectrimError:
    try:
        return read(path, *span, rate=rate)
    except SpectrimError as error:
        return error
