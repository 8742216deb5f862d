"""Windows of many sounds in batches, and the outputs of a model collected sound by sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..audio.windows import Window
from ..common.errors import SpectrimError, not_finite

Item = tuple[int, str, Window | SpectrimError | None]
"""Number and name of a sound, and its next window; the error that ends it; or None at its end."""

Compute = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Waveforms (samples,) float32, to (batch, any) float32."""


@dataclass
class SoundOutput:
    """Outputs of a model on the windows of one sound.

    Attributes:
        number, name: of the sound.
        starts, ends: seconds of each window whose output is finite.
        values: per such window, (any,) float32.
        error: why the sound could not be read to its end, or why an output is missing; or None.
        is_finite: whether all outputs were finite.
        seconds: of sound that windows cover.
    """

    number: int
    name: str
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    error: SpectrimError | None = None
    is_finite: bool = True
    seconds: float = 0.0
    last_end: float | None = None
    num_waiting: int = 0
    is_read: bool = False

    def add(self, window: Window, values: np.ndarray) -> float:
        """Add the output of the next window; returns the seconds that no earlier window covers."""
        new = window.end - max(window.start, self.last_end or 0.0)
        self.last_end = window.end
        self.seconds += new
        self.num_waiting -= 1
        if np.isfinite(values).all():
            self.starts.append(window.start)
            self.ends.append(window.end)
            self.values.append(values)
        elif self.is_finite:
            self.is_finite = False
            self.error = self.error or not_finite(self.name)
        return new


def outputs_by_sound(
    items: Iterable[Item],
    compute: Compute,
    batch_size: int,
    tick: Callable[[str, float], None] = lambda name, seconds: None,
) -> Iterator[SoundOutput]:
    """Compute windows in batches that may hold windows of several sounds.

    Args:
        items: windows, sound after sound; each sound ends with an error or None.
        tick: called with a sound's name and the seconds of it that are new, window by window.

    Yields:
        The outputs of each sound, in the order of the sounds.
    """
    open_sounds: deque[SoundOutput] = deque()
    batch: list[tuple[SoundOutput, Window]] = []

    def run() -> None:
        for (sound, window), values in zip(
            batch, compute([window.samples for _, window in batch]), strict=True
        ):
            tick(sound.name, sound.add(window, values))
        batch.clear()

    for number, name, item in items:
        if not open_sounds or open_sounds[-1].number != number:
            open_sounds.append(SoundOutput(number, name))
        sound = open_sounds[-1]
        if isinstance(item, Window):
            batch.append((sound, item))
            sound.num_waiting += 1
        else:
            sound.is_read = True
            sound.error = item or sound.error
        if len(batch) == batch_size:
            run()
        yield from _finished(open_sounds)
    if batch:
        run()
    yield from _finished(open_sounds)


def _finished(sounds: deque[SoundOutput]) -> Iterator[SoundOutput]:
    while sounds and sounds[0].is_read and not sounds[0].num_waiting:
        yield sounds.popleft()
