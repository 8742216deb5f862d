"""Bytes of a sound file as libsndfile reads them, and repairs of headers that state a wrong length.

libsndfile stops at the length in a header, or at a guess. This module finds what such a length
would lose: the further streams of an Ogg file, MP3 files without a length or joined to one another,
and WAV files of a recorder that crashed before it wrote the length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

UNKNOWN_END = 1 << 40  # bytes; larger than any MP3
ID3V1 = 128  # bytes of the tag at the end of an MP3
RIFF_HEADER, CHUNK_HEADER = 12, 8  # bytes
PAGE_HEADER = 27  # bytes of an Ogg page before its segment table
LARGEST_PAGE = PAGE_HEADER + 255 + 255 * 255  # bytes
FIRST_PAGE, LAST_PAGE = 2, 4  # flags of the first and the last page of a stream
NO_LENGTH = b"\xff" * 4  # a size in a header that means "to the end of the file"


class Source:
    """Part of an open binary file, as a file that never raises.

    Exceptions cannot pass through libsndfile: they would be printed, and the sound cut. They are
    kept in `error` instead, and reading ends.

    Args:
        file: seekable.
        begin, end: bytes of the part.
        patch: a position in the file and the bytes to read there instead.
        endless: claim to go on far behind the end, so that no length can be guessed from the size.
            Reading still ends at the end.

    Attributes:
        is_noisy: whether the decoder may print messages.
        error: exception of the file, if any.
    """

    def __init__(
        self,
        file: BinaryIO,
        begin: int,
        end: int,
        patch: tuple[int, bytes] | None = None,
        endless: bool = False,
    ) -> None:
        self.file, self.begin, self.size, self.patch = file, begin, end - begin, patch
        self.stated_size = UNKNOWN_END if endless else self.size
        self.endless, self.is_noisy = endless, True
        self._position = 0
        self.error: BaseException | None = None

    def copy(self) -> Source:
        """The same part, at its beginning."""
        return Source(self.file, self.begin, self.begin + self.size, self.patch, self.endless)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file; an impossible position changes nothing."""
        position = offset + (0, self._position, self.stated_size)[whence]
        if position >= 0:
            self._position = position
        return self._position

    def tell(self) -> int:
        """The position in the part."""
        return self._position

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end, and after an error."""
        if self._position >= self.size:
            # mpg123 looks for a tag in the last bytes, and must find some.
            left = self.stated_size - self._position if self.endless else 0
            return bytes(min(count, max(0, left))) if left <= ID3V1 else b""
        try:
            self.file.seek(self.begin + self._position)
            data = self.file.read(min(count, self.size - self._position))
        except BaseException as error:  # a Ctrl-C as well; `decode` raises it again
            self.error = error
            return b""
        data = self._patched(data)
        self._position += len(data)
        return data

    def _patched(self, data: bytes) -> bytes:
        if self.patch is None:
            return data
        offset, new = self.patch
        first = self.begin + self._position
        changed = bytearray(data)
        for index, byte in enumerate(new, offset - first):
            if 0 <= index < len(changed):
                changed[index] = byte
        return bytes(changed)


def bytes_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Up to `count` bytes of an open file from a position on."""
    file.seek(position)
    return file.read(count)


def repaired_length(file: BinaryIO, size: int) -> tuple[tuple[int, bytes] | None, str]:
    """How to read a WAV or AU file whose header states a wrong length.

    Returns:
        A patch of the header, or None; and what to tell the user, or "".
    """
    head = bytes_at(file, 0, RIFF_HEADER)
    if head[:4] in (b".snd", b"dns.") and head[8:] == bytes(4):
        return (8, NO_LENGTH), _crashed(0, size)
    order = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<"}.get(head[:4])
    if order is None or head[8:] != b"WAVE":
        return None, ""
    long_sizes = None  # position of the 64-bit length of the data in an RF64
    for name, position, length in _chunks(file, RIFF_HEADER, size, order):
        if name == b"ds64":
            long_sizes = position + CHUNK_HEADER + 8
        if name != b"data":
            continue
        first = position + CHUNK_HEADER
        if head[:4] == b"RF64" and long_sizes is not None:
            length = int.from_bytes(bytes_at(file, long_sizes, 8), "little")
        # Behind the data, other chunks may follow.
        unread = size - first - length
        if unread < -1 and not is_placeholder(length):
            return None, truncated(first + length, size)
        if unread <= 1 or _only_chunks(file, first + length + length % 2, size, order):
            return None, ""
        if length:
            return None, (
                f"the header states {length} bytes of sound, and {unread} more bytes follow, "
                "which are not read. If they are sound, repair the header"
            )
        if long_sizes is not None:
            return (long_sizes, struct.pack("<Q", unread)), _crashed(first, size)
        return (position + 4, NO_LENGTH), _crashed(first, size)
    return None, ""


def is_placeholder(length: int) -> bool:
    """Whether a stated length means "unknown".

    Programs that write to a pipe state the largest number of the field, or a little less.
    """
    return any(abs(length - (1 << bits)) < 1 << 24 for bits in (31, 32, 63, 64))


def truncated(end: int, size: int) -> str:
    """What to tell the user of a file whose header states an end behind the last byte."""
    return (
        f"its header states an end at byte {end}, but the file has {size} bytes. The file may be "
        "truncated"
    )


def _crashed(first: int, size: int) -> str:
    return (
        f"the header states 0 bytes of sound, as after a crash of the recorder. The {size - first} "
        "bytes behind it are read as sound"
    )


def _chunks(
    file: BinaryIO, position: int, size: int, order: str
) -> Iterator[tuple[bytes, int, int]]:
    """(name, position, stated length) of the chunks of a RIFF file."""
    while position + CHUNK_HEADER <= size:
        name, length = struct.unpack(f"{order}4sI", bytes_at(file, position, CHUNK_HEADER))
        yield name, position, length
        position += CHUNK_HEADER + length + length % 2


def _only_chunks(file: BinaryIO, position: int, size: int, order: str) -> bool:
    """Whether nothing but chunks with printable names follows, the last one up to the end."""
    for name, start, length in _chunks(file, position, size, order):
        if not (name.isascii() and name.decode("latin-1").isprintable()):
            return False
        position = start + CHUNK_HEADER + length
    return position in (size - 1, size, size + 1)


def joined_wavs(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """(begin, end) of WAV files that were joined to one; of the whole file if it is none."""
    begins = [0]
    while (head := bytes_at(file, begins[-1], RIFF_HEADER))[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")  # 0 in a file that ends before
        end = begins[-1] + CHUNK_HEADER + length + length % 2
        following = bytes_at(file, end, RIFF_HEADER) if length and end < size else b""
        if head[8:] != b"WAVE" or following[:4] != b"RIFF" or following[8:] != b"WAVE":
            break
        begins.append(end)
    return list(zip(begins, [*begins[1:], size], strict=True))


def next_flac(file: BinaryIO, position: int) -> int | None:
    """Where the next FLAC file begins that was joined to an earlier one; None if none does."""
    begins = (_find(file, b"fLaC" + flag + b"\0\0\x22", position) for flag in (b"\0", b"\x80"))
    begin = min(begins)
    return None if begin == UNKNOWN_END else begin


def ogg_streams(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """(begin, end) of the streams that follow one another in an Ogg file.

    A stream begins with a first page that comes after a page which is none. Several first pages in
    a row belong together, such as those of sound and video.
    """
    begins, position, in_header = [0], 0, True
    while position < size:
        header = bytes_at(file, position, PAGE_HEADER + 255)
        if header[:4] != b"OggS" or len(header) < PAGE_HEADER:
            position = _find(file, b"OggS", position + 1)
            continue
        is_first = bool(header[5] & FIRST_PAGE)
        if is_first and not in_header:
            begins.append(position)
        in_header = is_first
        segments = header[PAGE_HEADER : PAGE_HEADER + header[26]]
        position += PAGE_HEADER + len(segments) + sum(segments)
    return list(zip(begins, [*begins[1:], size], strict=True))


def is_cut(file: BinaryIO, size: int) -> bool:
    """Whether an Ogg file ends in the middle of a page, or in a page that is not a last one."""
    tail = bytes_at(file, max(0, size - LARGEST_PAGE), LARGEST_PAGE)
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < PAGE_HEADER:
        return True
    segments = page[PAGE_HEADER : PAGE_HEADER + page[26]]
    has_end = len(page) >= PAGE_HEADER + page[26] + sum(segments)
    return not (has_end and page[5] & LAST_PAGE)


def _find(file: BinaryIO, text: bytes, position: int) -> int:
    """Position of the first `text` from `position` on; beyond every file if there is none."""
    step = 1 << 16
    while len(piece := bytes_at(file, position, step + len(text) - 1)) >= len(text):
        if (index := piece.find(text)) >= 0:
            return position + index
        position += step
    return UNKNOWN_END
