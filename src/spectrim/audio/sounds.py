"""What a sound may be: a path, bytes, an open file, or samples in memory (see `in_memory`)."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from ..common.errors import SpectrimError
from ..common.paths import full_address, refuse_address
from .in_memory import IN_MEMORY, is_audio_decoder, is_tensor, name_in

Sound: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | tuple[Any, int]
    | Mapping[str, Any]
)
"""A path, the bytes of a file, an open binary file, (samples, rate), or a row of `datasets`."""

STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
ARCHIVES = (zipfile.ZipFile, zipfile.Path)
# Files that decompress from their beginning each time they go back.
COMPRESSED = (zipfile.ZipExtFile, gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile)


def as_sounds(sounds: Iterable[Sound] | Sound) -> Iterable[Sound]:
    """An iterable of sounds: several sounds unchanged, a single one in a list.

    Raises:
        SpectrimError: neither a sound nor several.
    """
    single = (str, bytes, bytearray, memoryview, tuple, os.PathLike, Mapping, np.ndarray)
    libraries = is_audio_decoder(sounds) or is_tensor(sounds)
    if isinstance(sounds, single) or hasattr(sounds, "read") or libraries:
        return [sounds]  # type: ignore[list-item]
    if not isinstance(sounds, Iterable):
        raise no_sound(sounds)
    return sounds


def sound_name(sound: Sound) -> str:
    """The name of a sound in messages and result rows."""
    if isinstance(sound, (str, os.PathLike)):
        return full_address(os.fspath(sound)) or os.fspath(sound)
    if isinstance(sound, Mapping):
        return name_in(sound) or IN_MEMORY
    if isinstance(sound, tuple) or is_audio_decoder(sound):
        return IN_MEMORY
    name = getattr(sound, "name", "(bytes)")
    return name if isinstance(name, str) else "(bytes)"  # of a pipe, the name is a number


def no_sound(sound: object) -> SpectrimError:
    """The error for an object that is no sound."""
    if isinstance(sound, ARCHIVES):
        return SpectrimError(
            "a zip archive is no sound. Pass one of its members: archive.open(name)."
        )
    return SpectrimError(
        "a sound is a path, bytes, an open file, (samples, rate) or {'array', 'sampling_rate'}, "
        f"not {type(sound).__name__}. Pass an array together with its sampling rate."
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
    elif hasattr(sound, "read") and not isinstance(sound, ARCHIVES):
        if isinstance(sound, io.TextIOBase) or getattr(sound, "closed", False):
            state = "closed" if sound.closed else "open as text"
            raise SpectrimError(f'{name}: the file is {state}. Open it with mode "rb".')
        if isinstance(sound, io.IOBase) and not sound.readable():
            raise SpectrimError(f'{name}: the file is open for writing. Open it with mode "rb".')
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
            raise SpectrimError(f"{name}: is {_description(path)}; expected a sound file.")
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
    refuse_address(text)


def _description(path: Path) -> str:
    """What a path is that is neither a file nor a folder."""
    mode = path.stat().st_mode
    descriptions = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return descriptions.get(stat.S_IFMT(mode), "a device")


def _rewound(file: BinaryIO) -> BinaryIO:
    """Rewind the file, because libsndfile counts from its beginning.

    A pipe and a file that decompresses are read into memory.
    """
    try:
        if isinstance(file, COMPRESSED):
            return io.BytesIO(_decompressed(file))
        file.seek(0)
        return file
    except (AttributeError, OSError):
        return io.BytesIO(file.read())


def _decompressed(file: BinaryIO) -> bytes:
    try:
        file.seek(0)
        return file.read()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise SpectrimError(f"{sound_name(file)}: cannot be decompressed: {error}.") from error
