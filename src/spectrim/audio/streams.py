"""Encoded sound files, decoded by libsndfile: all streams of a file, to its end.

A truncated WAV, Ogg, Opus or MP3 is read to its end, with a note if the file shows that it is
truncated. The header may not store the length, as in a running recording. A damaged FLAC raises an
error where the damage begins.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ..common.errors import SpectrimError, SpectrimNotice
from . import mp3
from .sound_formats import unreadable
from .sources import (
    ID3V1,
    Source,
    bytes_at,
    is_cut,
    joined_wavs,
    next_flac,
    ogg_streams,
    repaired_length,
)
from .stderr import without_decoder_messages

BLOCK_SECONDS = 10
SMALL = 4096  # bytes: a header, tags or padding rather than sound
MP3_LEAD = 2  # seconds decoded before a part of an MP3, whose frames depend on earlier ones
OGG_PROBE = 1024  # samples
TRUNCATED = "The file may be truncated or damaged"
DecoderError = (soundfile.LibsndfileError, RuntimeError)
# libsndfile stores why a file cannot be opened in a variable of the process, and clears it whenever
# a file is opened. Without this lock, a message could be that of a file of another thread.
OPENING = threading.Lock()


class Stream(soundfile.SoundFile):  # type: ignore[misc]
    """One stream of a file.

    It claims not to be seekable, so soundfile does not seek after each read: frames of an MP3
    depend on earlier frames, and every seek would leave a gap of up to half a second.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.failure: Exception | None = None  # of the read that a later one raises
        self.position = 0  # the sample up to which the caller has read
        with _decoder(source), OPENING:
            super().__init__(source)
        # Without a length in the file, libsndfile states numbers that the bytes cannot hold: an
        # MP3 of 8 kbit/s has 72 samples a byte.
        self.length = self.frames if 0 <= self.frames <= 100 * source.size + 10**6 else None
        source.is_noisy = self.format == "MP3"

    def seekable(self) -> bool:
        """See the class."""
        return False

    def go_to(self, first: int) -> None:
        """Go to a sample of the stream.

        Libvorbis may end the process if it seeks in a damaged file. Damage that matters here shows
        in the first samples, so another stream decodes them first. In this one, libsndfile would
        seek inexactly afterwards.
        """
        if not first:
            return
        if self.format == "OGG":
            with Stream(self.source.copy()) as probe:
                if not len(probe.decode(OGG_PROBE)):
                    raise RuntimeError("it has no samples that can be decoded")
                if probe.failure is not None:
                    raise probe.failure
        lead = min(first, MP3_LEAD * self.samplerate) if self.format == "MP3" else 0
        try:
            with _decoder(self.source):
                self.seek(first - lead)
        except DecoderError:
            if self.format != "FLAC":
                raise
            # libFLAC searches the whole source, which fails where a second file is joined to it.
            self.close()
            self.source.seek(0)
            with _decoder(self.source), OPENING:
                super().__init__(self.source)
            lead = first
        while lead > 0 and (
            decoded := len(self.decode(min(lead, BLOCK_SECONDS * self.samplerate)))
        ):
            lead -= decoded

    def decode(self, count: int) -> np.ndarray:
        """The next (samples, channels) float32, at most `count`; none at the end.

        Raises:
            LibsndfileError: damage. The samples before it are returned first.
        """
        if self.failure is not None:
            raise self.failure
        # After an error, libsndfile does not report how many samples it has decoded before.
        samples = np.full((count, self.channels), np.nan, np.float32)
        try:
            with _decoder(self.source):
                return self.read(count, dtype="float32", always_2d=True, out=samples)
        except DecoderError as error:
            undecoded = np.isnan(samples).all(1)
            decoded = int(undecoded.argmax()) if undecoded.any() else count
            if not decoded:
                raise
            self.failure = error
            return samples[:decoded]


@contextlib.contextmanager
def _decoder(source: Source) -> Iterator[None]:
    """Catch messages of decoders, and raise what `source` could not raise through libsndfile."""
    try:
        with without_decoder_messages() if source.is_noisy else contextlib.nullcontext():
            yield
    finally:
        if source.error is not None:
            raise source.error


def open_streams(file: BinaryIO, name: str) -> Iterator[Stream]:
    """Open the streams of a seekable file, one after another.

    The caller reads a stream before it asks for the next one. A notice reports bytes that hold no
    readable stream.

    Raises:
        SpectrimError: the first stream cannot be decoded.
    """
    size = file.seek(0, 2)
    if bytes_at(file, 0, 4) == b"OggS":
        if is_cut(file, size):
            _warn(f"{name}: its last page is incomplete or not the end of a stream. {TRUNCATED}.")
        for begin, end in ogg_streams(file, size):
            try:
                yield _open(Source(file, begin, end), name, size)
            except SpectrimError as error:
                if not begin:
                    raise
                _warn(f"{name}: bytes {begin} to {end} were left out: {error}")
        return
    for begin, end in joined_wavs(file, size):
        # The header of a file that is joined to another is not at fault.
        patch, note = repaired_length(file, size) if end - begin == size else (None, "")
        stream = _open(Source(file, begin, end, patch), name, size)
        if note:
            _warn(f"{name}: {note}.")
        if stream.format == "MP3":
            stream.close()
            yield from _mp3_streams(file, size, name)
            return
        yield stream
        if stream.format == "FLAC":
            yield from _further_flacs(stream, file, size, name)


def _further_flacs(stream: Stream, file: BinaryIO, size: int, name: str) -> Iterator[Stream]:
    """The FLAC files that were joined to the first one, which is read or passed over.

    A notice reports other bytes behind the stated end.
    """
    while True:
        source = stream.source
        # Decoders read ahead, but not this far.
        ahead = 32 * SMALL
        begin = next_flac(file, source.begin + max(source.tell() - ahead, 1))
        if begin is None:
            break
        stream = _open(Source(file, begin, size), name, size)
        yield stream
    unread = source.size - source.tell()
    is_read = stream.position >= (stream.length or 0)
    if is_read and unread > max(ahead // 2, size // 100):
        _warn(
            f"{name}: the header states {stream.frames / stream.samplerate:.1f} s of sound, but "
            f"{unread} of {size} bytes follow, which are not read. The file may be damaged."
        )


def _mp3_streams(file: BinaryIO, size: int, name: str) -> Iterator[Stream]:
    """The streams of an MP3: several if files are joined, or if parts are damaged."""
    begin: int | None = 0
    while begin is not None:
        endless = not mp3.states_length(file, begin)
        try:
            stream = _open(Source(file, begin, size, endless=endless), name, size)
        except SpectrimError as error:
            if not begin:
                raise
            _warn(f"{name}: the {size - begin} bytes behind byte {begin} were left out: {error}")
            return
        yield stream
        # The header of the next frame may have been read already.
        behind = begin + max(stream.source.tell() - 4, 1)
        begin = mp3.next_frames(file, behind, size)
        left_out = (size if begin is None else begin) - behind - ID3V1
        if left_out > SMALL and any(bytes_at(file, behind, left_out)):
            _warn(
                f"{name}: {left_out} bytes behind byte {behind} are no sound that can be decoded. "
                "The file may be damaged."
            )


def _open(source: Source, name: str, size: int) -> Stream:
    try:
        stream = Stream(source)
    except (*DecoderError, OSError, TypeError) as error:
        raise unreadable(name, error, bytes_at(source.file, 0, 64)) from error
    if not stream.frames and size > SMALL:
        raise SpectrimError(
            f"{name}: the header states 0 samples, but the file has {size} bytes. Repair the "
            "header, or convert the file with ffmpeg -i FILE repaired.wav."
        )
    return stream


def decode_streams(
    file: BinaryIO, name: str, start: float = 0.0, end: float | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a seekable file, or the part of it between `start` and `end` seconds.

    Yields:
        The sampling rate in Hz and (samples, channels) float32. Both the rate and the number of
        channels may change where a stream follows another.

    Raises:
        SpectrimError: not a sound, or damage, when it is reached.
    """
    elapsed = 0.0  # seconds of the streams so far
    for stream in open_streams(file, name):
        with stream:
            rate = stream.samplerate
            first = max(0, round((start - elapsed) * rate))
            last = None if end is None else round((end - elapsed) * rate)
            if stream.length is not None and first >= stream.length:
                elapsed += stream.length / rate
                continue
            done = yield from _decode_part(stream, name, first, last)
            if last is not None and done >= last:
                return
            if done <= first and first and stream.length is None:
                done = _length_of(stream, name)
            elapsed += max(done, stream.length or 0) / rate


def _decode_part(stream: Stream, name: str, first: int, last: int | None) -> Any:
    """Yield (rate, samples) of a stream from `first` to `last`; return the sample it ended at."""
    rate, length, done = stream.samplerate, stream.length, first
    stop = min((limit for limit in (last, length) if limit is not None), default=None)
    try:
        stream.go_to(first)
        while stop is None or done < stop:
            count = BLOCK_SECONDS * rate
            samples = stream.decode(count if stop is None else min(count, stop - done))
            if not len(samples):
                break
            done += len(samples)
            stream.position = done
            yield rate, samples
    except OSError as error:
        raise SpectrimError(f"{name}: {error.strerror or error}.") from error
    except DecoderError as error:
        # An MP3 without a length ends with an error if its last frame is cut.
        at_end = stream.source.size - stream.source.tell() < SMALL
        if not (stream.format == "MP3" and stream.length is None and done > first and at_end):
            head = bytes_at(stream.source.file, 0, 64)
            raise unreadable(name, error, head) from error
    if stop is not None and length and done < stop - 0.05 * length:
        _warn(
            f"{name}: only {done / rate:.1f} s of the {length / rate:.1f} s in the header could be "
            f"decoded. {TRUNCATED}."
        )
    return done


def _length_of(stream: Stream, name: str) -> int:
    """Samples of a stream that does not state its length, counted."""
    try:
        with _decoder(stream.source):
            stream.seek(0)
        count = 0
        while samples := len(stream.decode(BLOCK_SECONDS * stream.samplerate)):
            count += samples
    except DecoderError as error:
        raise unreadable(name, error) from error
    return count


def length_in_seconds(file: BinaryIO, name: str) -> float | None:
    """Length of all streams as their headers state it; None if they do not.

    If an MP3 does not store its length, its frames are counted. Joined FLAC files are decoded,
    because no header stores where the next file begins.

    Raises:
        SpectrimError: the file cannot be decoded.
    """
    size = file.seek(0, 2)
    if bytes_at(file, 0, 4) == b"OggS":
        sources = [Source(file, begin, end) for begin, end in ogg_streams(file, size)]
    else:
        files = joined_wavs(file, size)
        patch = repaired_length(file, size)[0] if len(files) == 1 else None
        sources = [Source(file, begin, end, patch) for begin, end in files]
    seconds = 0.0
    for source in sources:
        with _open(source, name, size) as stream:
            if stream.format == "MP3":
                stated = mp3.stated_end(file, 0) or size if mp3.states_length(file, 0) else 0
                if size - stated > SMALL:  # no length, or joined files
                    return mp3.counted_seconds(file, size)
            if stream.format == "FLAC" and next_flac(file, 1) is not None:
                decoded = decode_streams(file, name)
                return sum(len(samples) / rate for rate, samples in decoded)
            if stream.length is None:
                return None
            seconds += stream.length / stream.samplerate
    return seconds


def _warn(text: str) -> None:
    warnings.warn(SpectrimNotice(text), stacklevel=4)
