"""Any sound to 16 kHz mono float32, block by block, so that hours of it fit in memory."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr

from ..common.errors import SpectrimError
from .constants import SAMPLE_RATE, WINDOW

Sound: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | tuple[Any, int]
"""A path, the bytes of a file, an open binary file, or (samples, rate)."""

BLOCK_SECONDS = 10


def name_of(sound: Sound) -> str:
    """How messages and result rows call this sound."""
    if isinstance(sound, (str, os.PathLike)):
        return os.fspath(sound)
    if isinstance(sound, tuple):
        return "(samples, rate)"
    return str(getattr(sound, "name", "(bytes)"))


def read(sound: Sound, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Decode a sound, or the part of it between `start` and `end` seconds.

    Returns:
        (samples,) float32, 16 kHz, channels averaged.

    Raises:
        SpectrimError: not a sound, empty, shorter than one 25 ms window, or not finite.
    """
    parts = list(blocks(sound, start, end))
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    check_length(len(samples), name_of(sound))
    return samples


def check_length(samples: int, name: str) -> None:
    """Refuse what holds no single window of the filter bank."""
    if samples < WINDOW:
        what = "is empty" if not samples else f"lasts {samples / SAMPLE_RATE * 1000:.1f} ms"
        raise SpectrimError(f"{name}: {what}; at least 25 ms of sound are needed.")


def duration_of(sound: Sound) -> float | None:
    """Length in seconds as the header states it; None where it does not."""
    if isinstance(sound, tuple):
        return len(sound[0]) / sound[1]
    if not isinstance(sound, (str, os.PathLike)):
        return None
    try:
        info = soundfile.info(os.fspath(sound))
    except (soundfile.LibsndfileError, OSError):
        return None
    return float(info.duration) if 0 < info.frames < 2**62 else None


def blocks(
    sound: Sound, start: float | None = None, end: float | None = None
) -> Iterator[np.ndarray]:
    """Yield 16 kHz mono float32 blocks of a sound.

    Raises:
        SpectrimError: as `read`; a fault in the middle is raised when it is reached.
    """
    name = name_of(sound)
    if start is not None and not 0 <= start or end is not None and not (start or 0) < end:
        raise SpectrimError(f"{name}: start {start} and end {end} (seconds) hold no sound.")
    if isinstance(sound, tuple):
        rate, raw = _array_blocks(sound, start, end)
    else:
        rate, raw = _file_blocks(sound, name, start, end)
    yield from _resampled(raw, rate, name)


def _resampled(raw: Iterator[np.ndarray], rate: int, name: str) -> Iterator[np.ndarray]:
    """Average channels, check, resample."""
    stream = None
    if rate != SAMPLE_RATE:
        try:
            stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        except (ValueError, RuntimeError) as error:
            raise SpectrimError(f"{name}: a sampling rate of {rate} Hz: {error}.") from error
    seen = 0
    for block in raw:
        mono = block.mean(1) if block.ndim == 2 else block
        if not np.isfinite(mono).all():
            at = (seen + int(np.argmin(np.isfinite(mono)))) / rate
            raise SpectrimError(
                f"{name}: a sample at {at:.3f} s is not a finite number; mend or re-encode it."
            )
        seen += len(mono)
        mono = np.ascontiguousarray(mono, np.float32)
        yield mono if stream is None else stream.resample_chunk(mono)
    if stream is not None and seen:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _array_blocks(
    sound: tuple[Any, int], start: float | None, end: float | None
) -> tuple[int, Iterator[np.ndarray]]:
    name = name_of(sound)
    if len(sound) != 2 or not np.isscalar(sound[1]) or not float(sound[1]) > 0:
        raise SpectrimError("a sound in memory is (samples, rate), with a rate in Hz above 0.")
    samples, rate = np.asarray(sound[0]), round(float(sound[1]))
    if samples.ndim not in (1, 2) or samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        raise SpectrimError(
            f"{name}: samples of shape {samples.shape}; wanted (samples,) or "
            "(samples, channels): transpose channels-first arrays."
        )
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.signedinteger):
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise SpectrimError(f"{name}: samples of type {samples.dtype}; wanted float or integer.")
    first = round((start or 0) * rate)
    samples = samples[first : None if end is None else max(first, round(end * rate))]
    size = BLOCK_SECONDS * rate
    return rate, (samples[at : at + size] for at in range(0, len(samples), size))


def _file_blocks(
    sound: str | os.PathLike[str] | bytes | BinaryIO,
    name: str,
    start: float | None,
    end: float | None,
) -> tuple[int, Iterator[np.ndarray]]:
    if isinstance(sound, (str, os.PathLike)):
        path = Path(sound)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise SpectrimError(f"{name}: {what}; wanted a sound file.")
        if path.stat().st_size == 0:
            raise SpectrimError(f"{name}: the file is empty.")
        source: Any = os.fspath(path)
    elif isinstance(sound, (bytes, bytearray)):
        source = io.BytesIO(sound)
    elif hasattr(sound, "read"):
        source = sound
    else:
        raise SpectrimError(
            f"a sound is a path, bytes, an open file or (samples, rate), not "
            f"{type(sound).__name__}: an array needs its sampling rate beside it."
        )
    try:
        file = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise _unreadable(name, error) from error

    def parts() -> Iterator[np.ndarray]:
        with contextlib.closing(file):
            left = None
            try:
                if start:
                    file.seek(min(round(start * file.samplerate), file.frames))
                if end is not None:
                    left = round(end * file.samplerate) - round((start or 0) * file.samplerate)
                while left is None or left > 0:
                    size = BLOCK_SECONDS * file.samplerate
                    block = file.read(size if left is None else min(size, left), dtype="float32")
                    if not len(block):
                        return
                    left = None if left is None else left - len(block)
                    yield block
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise _unreadable(name, error) from error

    return file.samplerate, parts()


def _unreadable(name: str, error: Exception) -> SpectrimError:
    return SpectrimError(
        f"{name}: not readable as sound ({str(error).rstrip('.')}); WAV, FLAC, Ogg, Opus and MP3 "
        "are read, whole and undamaged."
    )
