"""Encoded files: decoded by libsndfile, else by torchcodec, else by the `ffmpeg` on the PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ..common.errors import SpectrimError, SpectrimNotice
from . import ffmpeg, torchcodec
from .container_ends import note_wrong_end
from .sound_formats import (
    OGG,
    OTHER_SUFFIXES,
    SUFFIXES,
    DecodingFailed,
    ForeignFormat,
    format_of_content,
    is_mpeg4,
)
from .sources import bytes_at
from .streams import decode_streams, length_in_seconds

HEAD = 64  # bytes that show the format of a file


class Decoder(Protocol):
    """A module that decodes what libsndfile does not."""

    NAME: str

    def is_available(self) -> bool:
        """Whether it can be used here."""

    def pieces(
        self, path: Path, name: str, start: float, end: float | None, has_exact_times: bool
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield rates in Hz and (samples, channels) float32 between two times in seconds."""

    def seconds(self, path: Path) -> float | None:
        """Length of the sound; None if unknown."""


def readable_suffixes() -> tuple[str, ...]:
    """Suffixes of files that can be decoded here."""
    has_decoder = ffmpeg.is_available() or torchcodec.is_available()
    return (*SUFFIXES, *OTHER_SUFFIXES) if has_decoder else SUFFIXES


def decode_file(
    file: BinaryIO, name: str, start: float = 0.0, end: float | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a seekable file, or the part of it between `start` and `end` seconds.

    Yields:
        The sampling rate in Hz and (samples, channels) float32; both may change.

    Raises:
        SpectrimError: not a sound, or damage, when it is reached.
    """
    note_wrong_end(file, name)
    done = start
    try:
        for rate, samples in decode_streams(file, name, start, end):
            yield rate, samples
            done += len(samples) / rate
    except ForeignFormat as error:
        head = bytes_at(file, 0, HEAD)
        is_ogg = head.startswith(OGG) and format_of_content(head) is None
        if is_ogg and any(_decoders(head)):
            text = (
                f"{name}: libsndfile stops at {done:.2f} s. FFmpeg decodes the rest. If the file "
                "is damaged, sound may be missing."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=3)
        with _path_of(file, name) as path:
            yield from _decode_foreign(path, head, error, name, done, end)


def seconds_of_file(file: BinaryIO, name: str) -> float | None:
    """Length of a seekable file in seconds; None if neither its header nor a decoder states it.

    Raises:
        SpectrimError: the file cannot be decoded.
    """
    try:
        return length_in_seconds(file, name)
    except ForeignFormat:
        with _path_of(file, name) as path:
            lengths = (other.seconds(path) for other in _decoders(bytes_at(file, 0, HEAD)))
            return next((length for length in lengths if length), None)


def _decoders(head: bytes) -> Iterator[Decoder]:
    """Decoders that can be used here for a file with these first bytes, in order."""
    # torchcodec would also open playlists, see its module.
    if format_of_content(head) is not None and torchcodec.is_available():
        yield torchcodec
    if ffmpeg.is_available():
        yield ffmpeg


def _decode_foreign(
    path: Path, head: bytes, error: ForeignFormat, name: str, start: float, end: float | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode with the first decoder that can; `error` is raised if there is none."""
    failures = []
    for decoder in _decoders(head):
        has_begun = False
        try:
            for piece in decoder.pieces(path, name, start, end, is_mpeg4(head)):
                has_begun = True
                yield piece
            return
        except DecodingFailed as failure:
            failures.append(f"{decoder.NAME}: {failure}")
            if has_begun:  # another decoder would begin again
                break
    if not failures:
        raise error
    content = format_of_content(head) or f"a file of type {os.path.splitext(name)[1]}"
    raise SpectrimError(
        f"{name}: cannot be decoded as {content} ({'; '.join(failures)}). The file may be damaged, "
        "incomplete, or of another format than its name says."
    ) from None


@contextlib.contextmanager
def _path_of(file: BinaryIO, name: str) -> Iterator[Path]:
    """A path with the bytes of an open file: its own, or that of a temporary copy."""
    if (path := _path_on_disk(file)) is not None:
        yield path
        return
    suffix = os.path.splitext(name)[1]
    with tempfile.TemporaryDirectory(prefix="spectrim-") as folder:
        copy = Path(folder, f"sound{suffix if suffix.isascii() and suffix[1:].isalnum() else ''}")
        try:
            file.seek(0)
            with copy.open("wb") as target:
                shutil.copyfileobj(file, target)
        except OSError as error:
            raise SpectrimError(f"{name}: cannot be copied to {folder}: {error}.") from error
        yield copy


def _path_on_disk(file: BinaryIO) -> Path | None:
    """The path of an open file, if it still leads to that file."""
    try:
        path = Path(file.name)
        is_same = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (AttributeError, TypeError, OSError, ValueError):  # bytes, zip members, file numbers
        return None
    return path if is_same else None
