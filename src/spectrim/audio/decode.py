"""Decoding: any sound to 16 kHz mono float32, block by block, so hours of sound fit in memory.

Damaged files: a truncated WAV, Ogg, Opus or MP3 is read to its end, because the header may not
store the length, as in a running recording. An MP3 that ends well before the length in its header
also causes a notice. A damaged FLAC raises an error where the damage begins. libsndfile guesses the
length of an MP3 of variable bit rate without a Xing header, and stops there.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr

from ..common.errors import SpectrimError, SpectrimNotice
from .constants import SAMPLE_RATE, WINDOW

Sound: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | tuple[Any, int]
"""A path, the bytes of a file, an open binary file, or (samples, rate)."""

BLOCK_SECONDS = 10
RATES = (100, 10_000_000)  # Hz; other rates come from damaged headers and would fill memory
LOUDEST = 2.0**32  # well above integers stored as floats, well below an overflow of the energy


def as_sounds(sounds: Iterable[Sound] | Sound) -> Iterable[Sound]:
    """An iterable of sounds: several sounds unchanged, a single one in a list."""
    if isinstance(sounds, (str, bytes, tuple, os.PathLike)) or hasattr(sounds, "read"):
        return [sounds]  # type: ignore[list-item]
    return sounds


def sound_name(sound: Sound) -> str:
    """The name of a sound in messages and result rows."""
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
    decoded = list(blocks(sound, start, end))
    samples = np.concatenate(decoded) if decoded else np.zeros(0, np.float32)
    name = sound_name(sound)
    if start or end is not None:
        name += f" from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}"
    check_length(len(samples), name)
    return samples


def check_length(samples: int, name: str) -> None:
    """Refuse a sound that is shorter than one window of the filter bank."""
    if samples < WINDOW:
        problem = "is empty" if not samples else f"lasts {samples / SAMPLE_RATE * 1000:.1f} ms"
        raise SpectrimError(f"{name}: {problem}; expected at least 25 ms of sound.")


def duration_of(sound: Sound) -> float | None:
    """Length in seconds according to the header; None if it does not store the length.

    Raises:
        SpectrimError: samples in memory that `read` would refuse.
    """
    if isinstance(sound, tuple):
        rate, samples = _array(sound)
        return len(samples) / rate
    if not isinstance(sound, (str, os.PathLike)):
        return None
    try:
        info = soundfile.info(_file_name(sound))
    except (soundfile.LibsndfileError, OSError, TypeError):
        return None
    return float(info.duration) if 0 < info.frames < 2**62 else None


def blocks(
    sound: Sound, start: float | None = None, end: float | None = None
) -> Iterator[np.ndarray]:
    """Yield 16 kHz mono float32 blocks of a sound.

    Raises:
        SpectrimError: as `read`; damage in the middle raises when it is reached.
    """
    name = sound_name(sound)
    if not 0 <= (start or 0) < (math.inf if end is None else end):
        raise SpectrimError(
            f"{name}: start {start} and end {end}; expected seconds with 0 <= start < end."
        )
    end = None if end == math.inf else end
    if isinstance(sound, tuple):
        rate, raw = _array_blocks(sound, start, end)
    else:
        rate, raw = _file_blocks(sound, name, start, end)
    yield from _resampled(raw, rate, start or 0, name)


def _resampled(
    raw: Iterator[np.ndarray], rate: int, start: float, name: str
) -> Iterator[np.ndarray]:
    """Average channels, check, resample; `start` seconds precede the first block."""
    if not RATES[0] <= rate <= RATES[1]:
        raise SpectrimError(
            f"{name}: a sampling rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz."
        )
    stream = None
    if rate != SAMPLE_RATE:
        try:
            stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        except (ValueError, RuntimeError) as error:
            raise SpectrimError(f"{name}: a sampling rate of {rate} Hz: {error}.") from error
    seen = 0
    for block in raw:
        mono = block.mean(1) if block.ndim == 2 else block
        sane = np.abs(mono) <= LOUDEST  # false for NaN as well
        if not sane.all():
            seconds = start + (seen + int(np.argmin(sane))) / rate
            raise SpectrimError(
                f"{name}: the sample at {seconds:.3f} s is not finite or far too large. Repair or "
                "re-encode the sound."
            )
        seen += len(mono)
        mono = np.ascontiguousarray(mono, np.float32)
        yield mono if stream is None else stream.resample_chunk(mono)
    if stream is not None and seen:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _array_blocks(
    sound: tuple[Any, int], start: float | None, end: float | None
) -> tuple[int, Iterator[np.ndarray]]:
    rate, samples = _array(sound)
    first = round((start or 0) * rate)
    samples = samples[first : None if end is None else max(first, round(end * rate))]
    size = BLOCK_SECONDS * rate
    return rate, (_scaled(samples[i : i + size]) for i in range(0, len(samples), size))


def _array(sound: tuple[Any, int]) -> tuple[int, np.ndarray]:
    """The rate and the samples, (samples,) or (samples, channels), of a sound in memory."""
    name = sound_name(sound)
    try:
        rate = float(sound[1]) if len(sound) == 2 else math.nan
    except (TypeError, ValueError, RuntimeError):
        rate = math.nan
    if not RATES[0] <= rate <= RATES[1]:
        raise SpectrimError(
            "a sound in memory is a tuple (samples, rate), with a rate of "
            f"{RATES[0]} to {RATES[1]} Hz{f', not {sound[1]!r}' if len(sound) == 2 else ''}."
        )
    samples = sound[0]
    try:
        if hasattr(samples, "detach"):  # a torch tensor: any device, any float
            samples = samples.detach().cpu()
            samples = samples.float() if samples.is_floating_point() else samples
        samples = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpectrimError(
            f"{name}: the samples cannot be converted to an array ({error})."
        ) from error
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or not channels or 0 < len(samples) < channels:
        raise SpectrimError(
            f"{name}: samples of shape {samples.shape}; expected (samples,) or "
            "(samples, channels). Transpose channels-first arrays."
        )
    # 64-bit integers are refused, because their full scale is unknown.
    known = np.issubdtype(samples.dtype, np.floating) or samples.dtype.name in _INTEGERS
    if len(samples) and not known:
        raise SpectrimError(
            f"{name}: samples of type {samples.dtype}; expected floats from -1 to 1, or integers "
            f"of type {', '.join(_INTEGERS)} that use their full range."
        )
    return round(rate), samples


_INTEGERS = ("uint8", "int8", "int16", "int32")


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Floats unchanged, integers scaled to -1 to 1."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32) if samples.itemsize < 4 else samples


def _file_blocks(
    sound: str | os.PathLike[str] | bytes | BinaryIO,
    name: str,
    start: float | None,
    end: float | None,
) -> tuple[int, Iterator[np.ndarray]]:
    if isinstance(sound, (str, os.PathLike)):
        path = Path(sound)
        try:
            if not path.is_file():
                problem = "is a folder" if path.is_dir() else "no such file"
                raise SpectrimError(f"{name}: {problem}; expected a sound file.")
            if path.stat().st_size == 0:
                raise SpectrimError(f"{name}: the file is empty; expected a sound file.")
        except OSError as error:
            raise SpectrimError(f"{name}: {error.strerror}; expected a sound file.") from error
        source: Any = _file_name(path)
    elif isinstance(sound, (bytes, bytearray)):
        if not sound:
            raise SpectrimError(f"{name}: no bytes; expected the bytes of a sound file.")
        source = io.BytesIO(sound)
    elif hasattr(sound, "read"):
        source = sound
        if isinstance(source, io.TextIOBase) or getattr(source, "closed", False):
            state = "closed" if source.closed else "open as text"
            raise SpectrimError(f'{name}: the file is {state}. Open it with mode "rb".')
    else:
        raise SpectrimError(
            f"a sound is a path, bytes, an open file or (samples, rate), not "
            f"{type(sound).__name__}. Pass an array together with its sampling rate."
        )
    try:
        file = _Stream(source if isinstance(source, (str, bytes)) else _rewound(source))
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise _unreadable(name, error) from error

    def decoded_blocks() -> Iterator[np.ndarray]:
        rate, stated = file.samplerate, file.frames
        first = min(round((start or 0) * rate), stated)
        last = stated if end is None else min(round(end * rate), stated)
        with contextlib.closing(file):
            try:
                _seek(file, first)
                while first < last:
                    block = file.read(min(BLOCK_SECONDS * rate, last - first), dtype="float32")
                    if not len(block):
                        break
                    first += len(block)
                    yield block
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise _unreadable(name, error) from error
        if first < last - 0.05 * stated and stated < 2**62:
            warnings.warn(
                f"{name}: only {first / rate:.1f} s of the {stated / rate:.1f} s in the header "
                "could be decoded. The file may be truncated or damaged.",
                SpectrimNotice,
                stacklevel=2,
            )

    return file.samplerate, decoded_blocks()


def _file_name(path: str | os.PathLike[str]) -> str | bytes:
    """The path as soundfile takes it, also if the name is not valid Unicode."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


def _rewound(file: BinaryIO) -> BinaryIO:
    """Rewind the file, because libsndfile counts from its beginning; read a pipe into memory."""
    try:
        file.seek(0)
        return file
    except (AttributeError, OSError):
        return io.BytesIO(file.read())


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A file that claims not to be seekable, so soundfile does not seek after each read.

    Frames of an MP3 depend on earlier frames: every seek would leave a gap of up to half a second.
    """

    def seekable(self) -> bool:
        return False


def _seek(file: _Stream, first: int) -> None:
    """Go to a sample; in an MP3, seek two seconds before it and decode from there."""
    lead = min(first, 2 * file.samplerate) if file.format == "MP3" else 0
    if first:
        file.seek(first - lead)
        file.read(lead)


def _unreadable(name: str, error: Exception) -> SpectrimError:
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    return SpectrimError(
        f"{name}: not readable as sound ({reason}). Supported formats: WAV, FLAC, Ogg, Opus, MP3."
    )
