"""Decoding: any sound to mono float32 at a model's sample rate.

Sounds are decoded block by block, so hours of sound fit in memory.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import soxr

from ..common.errors import SpectrimError, SpectrimNotice
from .channels import LOUDEST, MIX, Channel, Mixer, check_channel, energies
from .constants import SAMPLE_RATE, SHORTEST
from .encoded_files import decode_file, seconds_of_file
from .in_memory import RATES, from_library, samples_of, scaled
from .sounds import Sound, as_sounds, is_seekable, opened, sound_name
from .streams import BLOCK_SECONDS

__all__ = ["Sound", "as_sounds", "blocks", "check_length", "duration_of", "read", "sound_name"]

LOUD = 100.0  # peak of floats that are no sound from -1 to 1, but integers
LOUDEST_SAMPLE = 2.0**32  # well above integers stored as floats, well below an energy's overflow


def read(
    sound: Sound,
    start: float | None = None,
    end: float | None = None,
    channel: Channel = MIX,
    rate: int = SAMPLE_RATE,
) -> np.ndarray:
    """Decode a sound, or the part of it between `start` and `end` seconds.

    Args:
        channel: an index from 0; "mix": the mean of all channels; "loudest": the channel with the
            highest RMS over the whole sound.
        rate: sample rate of the result in Hz; a sound of another rate is resampled.

    Returns:
        (samples,) float32.

    Raises:
        SpectrimError: not a sound, empty, shorter than one 25 ms window, or not finite.
    """
    decoded = list(blocks(sound, start, end, channel, rate))
    samples = np.concatenate(decoded) if decoded else np.zeros(0, np.float32)
    name = sound_name(sound)
    if start or end is not None:
        name += f" from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}"
    check_length(len(samples), name, rate)
    return samples


def check_length(samples: int, name: str, rate: int) -> None:
    """Refuse a sound that is shorter than one window of Kaldi's filter bank."""
    if samples < SHORTEST * rate:
        problem = "is empty" if not samples else f"lasts {samples / rate * 1000:.1f} ms"
        raise SpectrimError(f"{name}: {problem}; expected at least 25 ms of sound.")


def duration_of(sound: Sound) -> float | None:
    """Length in seconds; None if the input is no sound or does not store its length.

    Only joined FLAC files are decoded.

    Raises:
        SpectrimError: samples in memory that `read` would refuse.
    """
    sound = from_library(sound)
    if isinstance(sound, tuple):
        rate, samples = samples_of(sound)
        return len(samples) / rate
    if not isinstance(sound, (str, os.PathLike)):
        return None
    try:
        with opened(sound) as file:
            return seconds_of_file(file, sound_name(sound)) or None
    except (SpectrimError, OSError):
        return None


def blocks(
    sound: Sound,
    start: float | None = None,
    end: float | None = None,
    channel: Channel = MIX,
    rate: int = SAMPLE_RATE,
) -> Iterator[np.ndarray]:
    """Yield mono float32 blocks of a sound; arguments as `read`.

    Raises:
        SpectrimError: as `read`; damage in the middle raises when it is reached.
    """
    name = sound_name(sound)
    sound = from_library(sound)
    if not 0 <= (start or 0) < (math.inf if end is None else end):
        raise SpectrimError(
            f"{name}: start {start} and end {end}; expected seconds with 0 <= start < end."
        )
    end = None if end == math.inf else end
    channel = check_channel(channel)
    if channel == LOUDEST:
        channel = loudest_channel(sound)
    mixer = Mixer(name, channel)
    try:
        yield from _resampled(_pieces(sound, start or 0, end), mixer, start or 0, rate)
    finally:  # also if the caller needs no more blocks
        mixer.report()


def loudest_channel(sound: Sound) -> int:
    """The channel with the highest RMS over the whole sound, the first among equals.

    Raises:
        SpectrimError: a pipe, which cannot be read twice; or as `read`.
    """
    if not is_seekable(sound):
        raise SpectrimError(
            f"{sound_name(sound)}: the loudest channel needs a file that can be read twice. Save "
            "it to a file first, or choose 'mix' or a number."
        )
    if isinstance(sound, (str, os.PathLike)):
        status = os.stat(sound)
        return _loudest_of_file(os.fspath(sound), status.st_size, status.st_mtime_ns)
    return _loudest(sound)


@lru_cache(maxsize=1024)
def _loudest_of_file(path: str, size: int, modified: int) -> int:
    return _loudest(path)


def _loudest(sound: Sound) -> int:
    total = np.zeros(1)
    for _, block in _pieces(sound, 0.0, None):
        block = block[:, None] if block.ndim == 1 else block
        if len(total) < block.shape[1]:
            total = np.pad(total, (0, block.shape[1] - len(total)))
        total[: block.shape[1]] += energies(block)
    return int(total.argmax())


def _pieces(sound: Sound, start: float, end: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """Sampling rates and blocks, (samples,) or (samples, channels), of a part of a sound."""
    if isinstance(sound, tuple):
        rate, samples = samples_of(sound)
        first = round(start * rate) if start < math.inf else len(samples)
        samples = samples[first : None if end is None else max(first, round(end * rate))]
        size = BLOCK_SECONDS * rate
        for index in range(0, len(samples), size):
            yield rate, scaled(samples[index : index + size])
    else:
        with opened(sound) as file:
            yield from decode_file(file, sound_name(sound), start, end)


def _resampled(
    pieces: Iterator[tuple[int, np.ndarray]], mixer: Mixer, start: float, target: int
) -> Iterator[np.ndarray]:
    """Reduce to one channel, check, resample to the rate `target`.

    Args:
        start: seconds that precede the first block.
    """
    resampler, current_rate, seconds, is_loud = None, 0, start, False
    for rate, block in pieces:
        if rate != current_rate:
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler, current_rate = _resampler(rate, target, mixer.name), rate
        mono = mixer(block)
        sizes = np.abs(mono)
        is_sane = sizes <= LOUDEST_SAMPLE  # false for NaN as well
        if not is_sane.all():
            raise SpectrimError(
                f"{mixer.name}: the sample at {seconds + int(np.argmin(is_sane)) / rate:.3f} s is "
                "not finite or far too large. Repair or re-encode the sound."
            )
        if not is_loud and (peak := sizes.max(initial=0.0)) > LOUD:
            is_loud = True
            text = (
                f"{mixer.name}: float samples of up to {peak:,.0f}; expected -1 to 1. They seem to "
                "be integers: divide them by their full scale, such as 32768."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=4)
        seconds += len(mono) / rate
        mono = np.ascontiguousarray(mono, np.float32)
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _resampler(rate: int, target: int, name: str) -> soxr.ResampleStream | None:
    if not RATES[0] <= rate <= RATES[1]:
        raise SpectrimError(
            f"{name}: a sampling rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz."
        )
    if rate == target:
        return None
    if rate < target and target > SAMPLE_RATE:
        # Not at 16 kHz: corpora of speech mix 8 and 16 kHz, and models are trained on both.
        text = (
            f"sound of {rate} Hz is resampled to the model's {target} Hz. It contains nothing "
            f"above {rate / 2:g} Hz, where the model expects sound."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=5)
    try:
        return soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    except (ValueError, RuntimeError) as error:
        raise SpectrimError(f"{name}: a sampling rate of {rate} Hz: {error}.") from error
