"""What a sound may be: a path, bytes, an open file, or samples in memory."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from ..common.errors import SpectrimError

Sound: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | tuple[Any, int]
)
"""A path, the bytes of a file, an open binary file, or (samples, rate)."""

RATES = (100, 10_000_000)  # Hz; other rates come from damaged headers and would fill memory
STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
# A path drops one of two slashes: https:/host/a.wav.
ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,3}(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
INTEGERS = ("uint8", "int8", "int16", "int32")
MANY_CHANNELS = 64  # more rows than this are taken for samples


def as_sounds(sounds: Iterable[Sound] | Sound) -> Iterable[Sound]:
    """An iterable of sounds: several sounds unchanged, a single one in a list.

    Raises:
        SpectrimError: neither a sound nor several.
    """
    single = (str, bytes, bytearray, memoryview, tuple, os.PathLike, Mapping, np.ndarray)
    if isinstance(sounds, single) or hasattr(sounds, "read") or hasattr(sounds, "detach"):
        return [sounds]  # type: ignore[list-item]
    if not isinstance(sounds, Iterable):
        raise no_sound(sounds)
    return sounds


def sound_name(sound: Sound) -> str:
    """The name of a sound in messages and result rows."""
    if isinstance(sound, (str, os.PathLike)):
        return full_address(os.fspath(sound)) or os.fspath(sound)
    if isinstance(sound, tuple):
        return "(samples, rate)"
    name = getattr(sound, "name", "(bytes)")
    return name if isinstance(name, str) else "(bytes)"  # of a pipe, the name is a number


def full_address(path: str) -> str | None:
    """The address that a path was made from, with all its slashes; None if it is no address."""
    match = ADDRESS.fullmatch(path)
    if match is None or len(match["scheme"]) == 1:  # a drive
        return None
    slashes = "///" if match["scheme"].lower() == "file" else "//"
    return f"{match['scheme']}:{slashes}{match['rest']}"


def no_sound(sound: object) -> SpectrimError:
    """The error for an object that is no sound."""
    text = "a sound is a path, bytes, an open file or (samples, rate)"
    if isinstance(sound, Mapping):
        keys = ", ".join(map(repr, sound))
        return SpectrimError(
            f"{text}, not a dictionary ({keys}). Pass (x['array'], x['sampling_rate'])."
        )
    return SpectrimError(
        f"{text}, not {type(sound).__name__}. Pass an array together with its sampling rate."
    )


@contextlib.contextmanager
def opened(sound: Any) -> Iterator[BinaryIO]:
    """A seekable binary file of a path, bytes or an open file, at its beginning.

    A pipe is read into memory. Files that the caller opened are not closed.

    Raises:
        SpectrimError: the file cannot be read, or the object is no sound.
    """
    name = sound_name(sound)
    if isinstance(sound, (str, os.PathLike)):
        file = _open_path(name, sound)
        with file:
            yield file
    elif isinstance(sound, (bytes, bytearray, memoryview)):
        if not len(sound):
            raise SpectrimError(f"{name}: no bytes; expected the bytes of a sound file.")
        yield io.BytesIO(sound)
    elif hasattr(sound, "read"):
        if isinstance(sound, io.TextIOBase) or getattr(sound, "closed", False):
            state = "closed" if sound.closed else "open as text"
            raise SpectrimError(f'{name}: the file is {state}. Open it with mode "rb".')
        yield _rewound(sound)
    else:
        raise no_sound(sound)


def is_seekable(sound: Any) -> bool:
    """Whether a sound can be read twice: a file that is no pipe, or anything in memory."""
    if isinstance(sound, (str, os.PathLike)):
        return Path(sound).is_file()
    if isinstance(sound, (tuple, bytes, bytearray, memoryview)):
        return True
    try:
        return bool(sound.seekable())
    except (AttributeError, OSError, ValueError):
        return False


def _open_path(name: str, sound: str | os.PathLike[str]) -> BinaryIO:
    path = Path(sound)
    refuse_other_places(sound)
    try:
        if not path.exists():
            raise SpectrimError(f"{name}: no such file; expected a sound file.")
        if path.is_dir():
            raise SpectrimError(f"{name}: is a folder; expected a sound file.")
        if not path.is_file():
            raise SpectrimError(f"{name}: is {_kind(path)}; expected a sound file.")
        if path.stat().st_size == 0:
            raise SpectrimError(f"{name}: the file is empty; expected a sound file.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, SpectrimError):
            raise
        raise SpectrimError(f"{name}: {reason}; expected a sound file.") from error


def refuse_other_places(path: str | os.PathLike[str]) -> None:
    """Refuse standard input and addresses, which are no files.

    Raises:
        SpectrimError: the path names one of these.
    """
    text = os.fspath(path)
    if text in STANDARD_INPUT:
        raise SpectrimError(
            f"{text}: standard input is not read. Save it to a file first, or pass "
            "sys.stdin.buffer in Python."
        )
    if (address := full_address(text)) is not None:
        raise SpectrimError(
            f"{address}: addresses are not fetched. Download the file first, and pass its path."
        )


def _kind(path: Path) -> str:
    """What a path is that is neither a file nor a folder."""
    mode = path.stat().st_mode
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _rewound(file: BinaryIO) -> BinaryIO:
    """Rewind the file, because libsndfile counts from its beginning; read a pipe into memory."""
    try:
        file.seek(0)
        return file
    except (AttributeError, OSError):
        return io.BytesIO(file.read())


def samples_of(sound: tuple[Any, int]) -> tuple[int, np.ndarray]:
    """The rate in Hz and the samples, (samples,) or (samples, channels), of a sound in memory.

    Raises:
        SpectrimError: a wrong rate, shape or type.
    """
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
    known = np.issubdtype(samples.dtype, np.floating) or samples.dtype.name in INTEGERS
    if len(samples) and not known:
        raise SpectrimError(
            f"{name}: samples of type {samples.dtype}; expected floats from -1 to 1, or integers "
            f"of type {', '.join(INTEGERS)} that use their full range."
        )
    return round(rate), samples


def scaled(samples: np.ndarray) -> np.ndarray:
    """Floats unchanged, integers scaled to -1 to 1."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32) if samples.itemsize < 4 else samples
