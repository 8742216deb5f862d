"""Sound that libsndfile does not decode, by torchcodec, where it is installed.

torchcodec loads the libraries of FFmpeg into this process. It has no list of allowed containers, so
it is given only files whose content is known, never a playlist that names other files.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import first_line
from .sound_formats import DecodingFailed

NAME = "torchcodec"
PIECE_SECONDS = 10


@functools.cache
def _decoder_class() -> Any:
    """`torchcodec.decoders.AudioDecoder`; None where it is missing or finds no FFmpeg."""
    if importlib.util.find_spec("torchcodec") is None:
        return None
    try:
        return importlib.import_module("torchcodec.decoders").AudioDecoder
    except Exception:  # it raises RuntimeError, OSError or ImportError if no FFmpeg fits
        return None


def is_available() -> bool:
    """Whether torchcodec can be imported."""
    return _decoder_class() is not None


def pieces(
    path: Path, name: str, start: float, end: float | None, has_exact_times: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """As `ffmpeg.pieces`, of the track that torchcodec prefers."""
    decoder = _opened(path)
    rate = int(decoder.metadata.sample_rate)
    while end is None or start < end:
        stop = start + PIECE_SECONDS if end is None else min(end, start + PIECE_SECONDS)
        try:
            samples = decoder.get_samples_played_in_range(start, stop).data
        except RuntimeError as error:
            if "No audio frames were decoded" in str(error):  # behind the end of the file
                return
            raise DecodingFailed(first_line(error)) from error
        if not samples.shape[1]:
            return
        yield rate, np.ascontiguousarray(samples.numpy().T, np.float32)
        start = stop


def seconds(path: Path) -> float | None:
    """Length in seconds, from the header; None if unknown."""
    try:
        length = _opened(path).metadata.duration_seconds
    except DecodingFailed:
        return None
    return None if length is None else float(length)


def _opened(path: Path) -> Any:
    try:
        return _decoder_class()(path.absolute())
    except (RuntimeError, ValueError, OSError) as error:
        raise DecodingFailed(first_line(error)) from error
