"""Sounds in memory: (samples, rate), the dictionaries of other libraries, and their arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.errors import SpectrimError

RATES = (100, 10_000_000)  # Hz; other rates come from damaged headers and would fill memory
INTEGERS = ("uint8", "int8", "int16", "int32")
ARRAY_KEYS = ("array", "raw")  # of datasets, and of the pipelines of transformers
IN_MEMORY = "(samples, rate)"


def is_tensor(samples: Any) -> bool:
    """Whether samples are a torch tensor, without importing torch."""
    return hasattr(samples, "detach")


def is_audio_decoder(sound: Any) -> bool:
    """Whether a sound is a decoder of torchcodec, as a row of `datasets` holds it."""
    return hasattr(sound, "get_all_samples")


def from_library(sound: Any) -> Any:
    """The sound in an object of another library; anything else unchanged.

    Args:
        sound: {"array", "sampling_rate"} or {"bytes", "path"} of `datasets`, {"raw",
            "sampling_rate"} of the pipelines of transformers, or a decoder of torchcodec.

    Returns:
        (samples, rate), where (channels, samples) of a row have become (samples, channels); bytes;
        or a path.

    Raises:
        SpectrimError: a dictionary with other keys, or a decoder that fails.
    """
    if is_audio_decoder(sound):
        try:
            decoded = sound.get_all_samples()
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise SpectrimError(f"{IN_MEMORY}: torchcodec cannot decode it ({reason}).") from error
        return decoded.data, decoded.sample_rate
    if not isinstance(sound, Mapping):
        return sound
    for key in ARRAY_KEYS:
        if sound.get(key) is not None and "sampling_rate" in sound:
            samples = sound[key]
            if not is_tensor(samples):
                samples = _samples_first(_as_array(samples))
            return samples, sound["sampling_rate"]
    if not sound.keys() - {"bytes", "path"}:
        if sound.get("bytes"):
            return _NamedBytes(sound["bytes"], name_in(sound))
        for key in ("bytes", "path"):
            if sound.get(key) is not None:
                return sound[key]
    keys = ", ".join(map(repr, sound))
    inner = next((key for key, value in sound.items() if isinstance(value, Mapping)), None)
    inner = "audio" if inner is None and is_audio_decoder(sound.get("audio")) else inner
    way_out = (
        f"Pass row[{inner!r}]"
        if inner is not None
        else "Expected {'array', 'sampling_rate'} or {'raw', 'sampling_rate'}"
    )
    named = f"a dictionary with the keys {keys}" if sound else "an empty dictionary"
    raise SpectrimError(f"{named} is not a sound. {way_out}.")


class _NamedBytes(io.BytesIO):
    """The bytes of a file with its name, which errors mention."""

    def __init__(self, data: bytes, name: str | None) -> None:
        super().__init__(data)
        self.name = name or "(bytes)"


def name_in(sound: Mapping[Any, Any]) -> str | None:
    """The path that a row of `datasets` states."""
    path = sound.get("path")
    return path if isinstance(path, str) and path else None


def samples_of(sound: tuple[Any, Any]) -> tuple[int, np.ndarray]:
    """The rate in Hz and the samples, (samples,) or (samples, channels), of (samples, rate).

    Torch tensors are channels first: (samples,) or (channels, samples). Other arrays are samples
    first: (samples,) or (samples, channels).

    Raises:
        SpectrimError: a wrong rate, shape or type.
    """
    try:
        rate = float(sound[1]) if len(sound) == 2 else math.nan
    except (TypeError, ValueError, RuntimeError):
        rate = math.nan
    if not RATES[0] <= rate <= RATES[1]:
        raise SpectrimError(
            "a sound in memory is a tuple (samples, rate), with a rate of "
            f"{RATES[0]} to {RATES[1]} Hz{f', not {sound[1]!r}' if len(sound) == 2 else ''}."
        )
    given = sound[0]
    samples = _as_array(given)
    if is_tensor(given):
        samples = _samples_first(samples)
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or not channels or 0 < len(samples) < channels:
        raise SpectrimError(
            f"{IN_MEMORY}: samples of shape {samples.shape}; expected (samples,) or "
            "(samples, channels). Transpose channels-first arrays."
        )
    # 64-bit integers are refused, because their full scale is unknown.
    known = np.issubdtype(samples.dtype, np.floating) or samples.dtype.name in INTEGERS
    if len(samples) and not known:
        raise SpectrimError(
            f"{IN_MEMORY}: samples of type {samples.dtype}; expected floats from -1 to 1, or "
            f"integers of type {', '.join(INTEGERS)} that use their full range."
        )
    return round(rate), samples


def _samples_first(samples: np.ndarray) -> np.ndarray:
    """(channels, samples) to (samples, channels); (samples,) unchanged."""
    if samples.ndim == 2 and samples.shape[0] > max(samples.shape[1], 1):
        raise SpectrimError(
            f"{IN_MEMORY}: samples of shape {samples.shape}; tensors and rows of datasets are "
            "(samples,) or (channels, samples). Transpose them."
        )
    return samples.T


def _as_array(samples: Any) -> np.ndarray:
    """Samples of any kind as an array; tensors from any device and of any float type."""
    try:
        if is_tensor(samples):
            samples = samples.detach().cpu()
            samples = samples.float() if samples.is_floating_point() else samples
        return np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpectrimError(
            f"{IN_MEMORY}: the samples cannot be converted to an array ({error})."
        ) from error


def scaled(samples: np.ndarray) -> np.ndarray:
    """Floats unchanged, integers scaled to -1 to 1."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32) if samples.itemsize < 4 else samples
