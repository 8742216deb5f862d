"""How far a job is: recordings, hours of audio, times real time, and the time that is left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from ...audio.decode import duration_of
from ...common.text import counted, duration, significant
from .input_recordings import Recording
from .job import Watcher

LONG = 60.0  # seconds of a recording after which its length is looked up


class JobProgress(Watcher):
    """Measures a job by the bytes of the recordings that are done.

    Bytes are known for all recordings before any is decoded. They count whether a recording is
    read or fails, and do not depend on `--hop`. Within a recording of more than a minute, the
    seconds that are done count as a share of its length.

    Args:
        changed: called after each change.
        clock: seconds; only differences matter.
    """

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed, self.clock = changed, clock
        self.num_recordings = self.num_done = self.num_failed = 0
        self.seconds = 0.0  # of sound
        self.windows: Counter[float] = Counter()  # seconds of a window to their number
        self.total_weight = self.done_weight = 0.0
        self.started = clock()
        self._weights: dict[str, float] = {}
        self._current = ""
        self._current_seconds = 0.0
        self._current_length: float | None = None

    def start(self, recordings: Sequence[Recording]) -> None:
        """The recordings of the job."""
        self.num_recordings = len(recordings)
        self.total_weight = sum(recording.weight for recording in recordings)
        self._weights = {recording.path: recording.weight for recording in recordings}
        self.started = self.clock()
        self.changed()

    def advance(self, path: str, seconds: float) -> None:
        """Seconds of a recording are computed."""
        if path != self._current:
            self._current, self._current_seconds, self._current_length = path, 0.0, None
        before = self._current_seconds
        self._current_seconds += seconds
        self.seconds += seconds
        self.windows[math.ceil(100 * seconds) / 100] += 1
        if before < LONG <= self._current_seconds:
            self._current_length = duration_of(path)
        self.changed()

    def done(self, recording: Recording, error: str | None) -> None:
        """A recording is done."""
        self.num_done += 1
        self.num_failed += error is not None
        self.done_weight += recording.weight
        if recording.path == self._current:
            self._current = ""
        self.changed()

    @property
    def fraction(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        done = self.done_weight
        if self._current and self._current_length:
            share = min(1.0, self._current_seconds / self._current_length)
            done += share * self._weights[self._current]
        return min(1.0, done / self.total_weight) if self.total_weight else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the end; None before anything is done."""
        done = self.fraction
        return (self.clock() - self.started) * (1 - done) / done if done else None

    def text(self) -> str:
        """Such as "120 of 10,000 files, 3.2 h of audio, 85.0 times real time, 12 min left"."""
        texts = [f"{self.num_done:,} of {counted(self.num_recordings, 'file')}"]
        if self.num_failed:
            texts.append(f"{self.num_failed:,} failed")
        texts.append(f"{audio_length(self.seconds)} of audio")
        elapsed = self.clock() - self.started
        if self.seconds and elapsed > 0:
            speed = self.seconds / elapsed
            number = f"{speed:,.0f}" if speed >= 100 else significant(speed)
            texts.append(f"{number} times real time")
        if (left := self.seconds_left) is not None and self.num_done < self.num_recordings:
            texts.append(f"{duration(left)} left")
        return ", ".join(texts)


def audio_length(seconds: float) -> str:
    """A length of audio, such as "8 s", "4 min" and "1,234.5 h"."""
    if seconds < 0.5:
        return "0 s"
    return duration(seconds) if seconds < 5400 else f"{seconds / 3600:,.1f} h"
