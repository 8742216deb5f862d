"""Decoding of recordings in threads while the model computes, in the order of the recordings.

Each thread takes the next recording and decodes it into a buffer of its own. The reader takes the
windows of the first recording, then those of the second, and so on. Decoding and resampling run
outside of Python's global lock, so threads use several cores without copies between processes.

Memory is limited by the number of decoded windows, so it grows neither with the number of
recordings nor with their length. The recording that the reader is at has a limit of its own:
otherwise later recordings could fill the memory, and the reader would wait for ever.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from threading import Condition, Thread

from ...audio.channels import Channel
from ...audio.windows import Window, windows
from ...common.errors import SpectrimError
from ..windowed import Item
from .input_recordings import Recording

MAX_WORKERS = 8
FILES_AHEAD = 256  # recordings that may be decoded or found unreadable before their turn


def default_workers() -> int:
    """Threads that decode: one per core, at most `MAX_WORKERS`."""
    return min(MAX_WORKERS, os.cpu_count() or 1)


def decoded_ahead(
    recordings: Sequence[Recording],
    size: int,
    hop: int,
    channel: Channel,
    rate: int,
    *,
    workers: int,
    max_windows: int,
) -> Generator[Item]:
    """Windows of recordings, in the order of the recordings.

    Args:
        size, hop, channel, rate: as `audio.windows.windows`.
        workers: threads.
        max_windows: decoded windows that wait for the reader; as many again may belong to the
            recording that the reader is at.
    """
    buffers = _Buffers(len(recordings), max_windows)

    def work() -> None:
        while (number := buffers.next_number()) is not None:
            ending: BaseException | None
            try:
                ending = _decode(buffers, number, recordings[number], size, hop, channel, rate)
            except BaseException as error:  # such as MemoryError: raised again by the reader
                ending = error
            buffers.put(number, ending)

    threads = [Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for number, recording in enumerate(recordings):
            while isinstance(item := buffers.take(number), Window):
                yield number, recording.path, item
            if item is not None and not isinstance(item, SpectrimError):
                raise item
            yield number, recording.path, item
    finally:
        buffers.stop()
        for thread in threads:
            thread.join()


def _decode(
    buffers: _Buffers,
    number: int,
    recording: Recording,
    size: int,
    hop: int,
    channel: Channel,
    rate: int,
) -> SpectrimError | None:
    """Fill the buffer of a recording; returns the error that ends it, or None."""
    if recording.problem is not None:
        return SpectrimError(recording.problem)
    version = recording.version
    try:
        part = (recording.start, recording.end)
        for window in windows(recording.sound(), size, hop, channel, *part, rate):
            if not buffers.put(number, window):
                break
    except SpectrimError as error:
        return _with_path(error, recording)
    except OSError as error:
        return SpectrimError(f"{recording.path}: {error.strerror or error}.")
    # A file that was deleted meanwhile is read to its end.
    if version is not None and recording.version not in (version, None):
        return SpectrimError(
            f"{recording.path}: the file changed while it was read, so its rows may be incomplete. "
            "Read it again, with another --out, when no program writes to it."
        )
    return None


def _with_path(error: SpectrimError, recording: Recording) -> SpectrimError:
    """An error that names the recording, even if its sound has another name or none."""
    if recording.load is None or str(error).startswith(recording.path):
        return error
    return SpectrimError(f"{recording.path}: {error}")


class _Buffers:
    """Decoded windows by recording, shared by the decoding threads and the reader.

    Args:
        count: number of recordings.
        max_windows: windows in the buffer of the recording that the reader is at, and windows in
            all other buffers together.
    """

    def __init__(self, count: int, max_windows: int) -> None:
        self.count, self.max_windows = count, max_windows
        self.changed = Condition()
        self.items: dict[int, deque[Window | BaseException | None]] = {}
        self.num_windows = 0  # in all buffers
        self.num_started = 0  # recordings that a thread has taken
        self.reader = 0  # the recording that the reader is at
        self.is_stopped = False

    def next_number(self) -> int | None:
        """The next recording to decode; None if there is none."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.is_stopped or self.num_started < self.reader + FILES_AHEAD
            )
            if self.is_stopped or self.num_started == self.count:
                return None
            self.num_started += 1
            return self.num_started - 1

    def put(self, number: int, item: Window | BaseException | None) -> bool:
        """Add to a buffer, once there is room; returns whether the reader still reads."""
        with self.changed:
            if isinstance(item, Window):
                self.changed.wait_for(lambda: self.is_stopped or self._has_room(number))
                self.num_windows += 1
            self.items.setdefault(number, deque()).append(item)
            self.changed.notify_all()
            return not self.is_stopped

    def take(self, number: int) -> Window | BaseException | None:
        """The next item of a recording, once it is decoded."""
        with self.changed:
            if number != self.reader:
                del self.items[self.reader]  # the reader has taken its end
                self.reader = number
                self.changed.notify_all()
            self.changed.wait_for(lambda: self.items.get(number))
            item = self.items[number].popleft()
            if isinstance(item, Window):
                self.num_windows -= 1
                self.changed.notify_all()
            return item

    def stop(self) -> None:
        """Let all threads end."""
        with self.changed:
            self.is_stopped = True
            self.changed.notify_all()

    def _has_room(self, number: int) -> bool:
        items = self.items.get(self.reader, deque())
        is_read = bool(items) and not isinstance(items[-1], Window)  # its end is an item, too
        num_at_reader = len(items) - is_read
        if number == self.reader:
            return num_at_reader < self.max_windows
        return self.num_windows - num_at_reader < self.max_windows
