"""Where a container ends by its own header, to report a truncated file or bytes after its end.

`streams` handles WAV, FLAC, Ogg and MP3, and reads them to the end of the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import BinaryIO

from ..common.errors import SpectrimNotice
from .sources import bytes_at, is_placeholder, truncated

SMALL = 4096  # bytes: padding or tags rather than sound
UNKNOWN_32 = 0xFFFFFFFF
W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
# First bytes of the names of: header, data, simple index, index, media index, timecode index.
ASF_OBJECTS = tuple(
    map(bytes.fromhex, ("3026b275", "3626b275", "90080033", "d329e2d6", "f803b1fe", "d03fb73c"))
)
CAF_CHUNKS = (
    b"desc", b"data", b"pakt", b"chan", b"kuki", b"strg", b"mark", b"regn", b"inst", b"midi",
    b"ovvw", b"peak", b"umid", b"uuid", b"info", b"free", b"edct",
)  # fmt: skip
MPEG4_BOXES = (
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"udta", b"meta",
    b"uuid", b"sidx", b"styp", b"ssix", b"prft", b"emsg", b"pnot", b"PICT",
)  # fmt: skip


def note_wrong_end(file: BinaryIO, name: str) -> None:
    """Give a note if a container ends behind the file, or bytes that may be sound follow it."""
    size = file.seek(0, 2)
    head = bytes_at(file, 0, 32)
    container = _container(head)
    stated = None if container is None else _ENDS[container][1](file, head, size)
    if stated is None or size <= stated <= size + 1:
        return
    if stated > size:
        if not is_placeholder(stated):
            warnings.warn(SpectrimNotice(f"{name}: {truncated(stated, size)}."), stacklevel=3)
        return
    behind = bytes_at(file, stated, max(SMALL + 1, len(head)))
    if _container(behind) == container or (size - stated > SMALL and any(behind)):
        text = (
            f"{name}: its header states an end at byte {stated}, but {size - stated} bytes follow. "
            "If files were joined, convert each of them on its own."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=3)


def _container(head: bytes) -> int | None:
    """The index in `_ENDS` of the container that begins with these bytes; None if unknown."""
    return next((index for index, (fits, _) in enumerate(_ENDS) if fits(head)), None)


def _aiff(file: BinaryIO, head: bytes, size: int) -> int | None:
    length = int.from_bytes(head[4:8], "big")
    return None if length in (0, UNKNOWN_32) else 8 + length + length % 2


def _au(file: BinaryIO, head: bytes, size: int) -> int | None:
    first, length = (int.from_bytes(head[offset : offset + 4], "big") for offset in (4, 8))
    return None if length in (0, UNKNOWN_32) else first + length


def _w64(file: BinaryIO, head: bytes, size: int) -> int | None:
    return int.from_bytes(head[16:24], "little") or None


def _caf(file: BinaryIO, head: bytes, size: int) -> int | None:
    """A chunk is four letters, a length in 64 bits, and as many bytes as the length states."""
    offset = 8
    while offset + 12 <= size:
        head = bytes_at(file, offset, 12)
        length = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] not in CAF_CHUNKS:
            return offset
        if length < 0:  # the sound continues to the end of the file
            return None
        offset += 12 + length
    return offset


def _mpeg4(file: BinaryIO, head: bytes, size: int) -> int | None:
    """A box is a length in 32 bits, four letters, and data; length 1: 64 bits after the letters."""
    offset = 0
    while offset + 8 <= size:
        head = bytes_at(file, offset, 16)
        if head[4:8] not in MPEG4_BOXES or (offset and head[4:8] == b"ftyp"):
            return offset
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: the box continues to the end of the file
            return None
        offset += length
    return offset


def _asf(file: BinaryIO, head: bytes, size: int) -> int | None:
    """An object is a name of 16 bytes, a length in 64 bits that includes both, and data."""
    offset = 0
    while offset + 24 <= size:
        head = bytes_at(file, offset, 24)
        length = int.from_bytes(head[16:], "little")
        if head[:4] not in ASF_OBJECTS or (offset and head.startswith(ASF)):
            return offset
        if length < 24:
            return None
        offset += length
    return offset


def _tta(file: BinaryIO, head: bytes, size: int) -> int | None:
    """A header of 22 bytes, a table of frame lengths, its checksum, and frames of 256/245 s."""
    rate, samples = (int.from_bytes(head[offset : offset + 4], "little") for offset in (10, 14))
    frames = -(-samples * 245 // (256 * rate)) if rate else 0
    table = bytes_at(file, 22, 4 * min(frames, size))
    lengths = (int.from_bytes(table[n : n + 4], "little") for n in range(0, len(table), 4))
    return 22 + len(table) + 4 + sum(lengths)


_ENDS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, bytes, int], int | None]], ...] = (
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), _aiff),
    (lambda head: head[:4] == b".snd", _au),
    (lambda head: head[:16] == W64, _w64),
    (lambda head: head[:4] == b"caff", _caf),
    (lambda head: head[4:8] == b"ftyp", _mpeg4),
    (lambda head: head[:16] == ASF, _asf),
    (lambda head: head[:4] == b"TTA1", _tta),
)
"""By container: whether a file begins as one, and the byte at which it ends (None: unknown)."""
