"""Frames of an MP3 file: whether it states its length, and where sound follows its stated end."""

from __future__ import annotations

from typing import BinaryIO

from .sources import bytes_at

# Bit rates in kbit/s by the index in a frame's header; 0 is none that can be read.
_MPEG1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
}
_MPEG2 = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
PIECE = 1 << 16  # bytes


def frame_length(header: bytes) -> int | None:
    """Bytes of the frame that begins with these four bytes; None if no frame does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    if version == 1 or layer == 4 or header[2] >> 2 & 3 == 3:
        return None
    kilobits = (_MPEG1 if version == 3 else _MPEG2)[layer][header[2] >> 4]
    rate, padding = _RATES[version][header[2] >> 2 & 3], header[2] >> 1 & 1
    if not kilobits:
        return None
    if layer == 1:
        return (12_000 * kilobits // rate + padding) * 4
    return (72_000 if layer == 3 and version != 3 else 144_000) * kilobits // rate + padding


def _frame(header: bytes) -> tuple[int, float] | None:
    """Bytes and seconds of the frame that begins with these four bytes; None if no frame does."""
    length = frame_length(header)
    if length is None:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return length, samples / _RATES[version][header[2] >> 2 & 3]


def counted_seconds(file: BinaryIO, size: int) -> float:
    """Length of an MP3 from its frames."""
    seconds, offset = 0.0, next_frames(file, 0, size)
    while offset is not None and offset < size:
        frame = _frame(bytes_at(file, offset, 4))
        if frame is None:
            offset = next_frames(file, offset + 1, size)
            continue
        seconds += frame[1]
        offset += frame[0]
    return seconds


def states_length(file: BinaryIO, begin: int) -> bool:
    """Whether the first frame from `begin` on states the length of an MP3."""
    return _length_tag(file, begin) is not None


def stated_end(file: BinaryIO, begin: int) -> int | None:
    """The byte at which an MP3 ends by its first frame; None if that frame does not state it."""
    if (tag := _length_tag(file, begin)) is None:
        return None
    first, offset = tag
    text = bytes_at(file, offset, 14)
    if text[:4] == b"VBRI":
        return first + int.from_bytes(text[10:14], "big")
    flags = int.from_bytes(text[4:8], "big")
    if not flags & 2:
        return None
    count = 8 + (4 if flags & 1 else 0)  # the number of frames comes before the number of bytes
    return first + int.from_bytes(bytes_at(file, offset + count, 4), "big")


def _length_tag(file: BinaryIO, begin: int) -> tuple[int, int] | None:
    """Positions of the first frame and of the tag in it that states the length; None if absent."""
    head = bytes_at(file, begin, 10)
    if head[:3] == b"ID3" and len(head) == 10:
        # Four bytes of seven bits are the size of the tag behind its header.
        begin += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    # The tag stands behind the side information, of at most 32 bytes, or at byte 36.
    text = bytes_at(file, begin, 64)
    offsets = [offset for name in _LENGTH_TAGS if (offset := text.find(name)) >= 0]
    return (begin, begin + offsets[0]) if offsets else None


def next_frames(file: BinaryIO, position: int, end: int) -> int | None:
    """Where the next two frames in a row begin; None if none do before `end`.

    One header alone may be an accident: of random bytes, one in 2,000 looks like one.
    """
    while position < end:
        piece = bytes_at(file, position, min(PIECE, end - position))
        start = 0
        while (index := piece.find(b"\xff", start)) >= 0:
            offset, start = position + index, index + 1
            length = frame_length(bytes_at(file, offset, 4)) or end
            if offset + length < end and frame_length(bytes_at(file, offset + length, 4)):
                return offset
        position += len(piece)
    return None
