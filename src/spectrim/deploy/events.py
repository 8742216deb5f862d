"""Events: parts of a recording in which a class stays above its threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..common.errors import SpectrimError
from .read_thresholds import DEFAULT_THRESHOLD, Thresholds, class_thresholds, plain_thresholds

TOLERANCE = 1e-6  # seconds; times have three decimals, but their differences do not


@dataclass(frozen=True)
class Event:
    """A class, and the part of a recording that it is detected in.

    Attributes:
        label: of the class.
        start, end: seconds.
        peak, mean: maximum and mean of the probabilities of the windows from start to end.
    """

    label: str
    start: float
    end: float
    peak: float
    mean: float


@dataclass(frozen=True)
class EventRule:
    """How events follow from probabilities; see `find_events`.

    Raises:
        SpectrimError: a value out of range.
    """

    thresholds: Thresholds = DEFAULT_THRESHOLD
    release: float = 1.0
    merge_gap: float = 0.0
    min_duration: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.release <= 1:
            raise SpectrimError(
                f"release is {self.release}; expected a fraction of the threshold, more than 0 and "
                "at most 1."
            )
        for name in ("merge_gap", "min_duration"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise SpectrimError(f"{name} is {value}; expected a number of seconds from 0.")

    def settings(self, labels: Sequence[str]) -> dict[str, Any]:
        """The rule as plain data."""
        values = class_thresholds(self.thresholds, labels)
        return asdict(self) | {"thresholds": plain_thresholds(values, labels)}

    def events(
        self,
        starts: Sequence[float],
        ends: Sequence[float],
        probabilities: np.ndarray | Sequence[np.ndarray],
        labels: Sequence[str],
    ) -> list[Event]:
        """As `find_events`."""
        table = _checked(starts, ends, probabilities, labels)
        thresholds = class_thresholds(self.thresholds, labels)
        if not len(table):
            return []
        places = _Places(starts, ends)
        events = []
        for index in map(int, np.flatnonzero((table >= thresholds).any(0))):
            values, threshold = table[:, index], thresholds[index]
            for first, last in self._runs(values, threshold, places):
                inside = values[first : last + 1]
                start, end = places.span(first, last)
                peak, mean = (round(float(value), 6) for value in (inside.max(), inside.mean()))
                events.append(Event(labels[index], round(start, 3), round(end, 3), peak, mean))
        return sorted(events, key=lambda event: event.start)  # stable: classes stay in their order

    def _runs(
        self, values: np.ndarray, threshold: float, places: _Places
    ) -> Iterator[tuple[int, int]]:
        """The first and last window of each event of one class, from (windows,) probabilities."""
        merged: list[tuple[int, int]] = []
        for first, last in places.runs(values >= self.release * threshold):
            if not (values[first : last + 1] >= threshold).any():
                continue  # hysteresis: above the lower limit, but it never reaches the threshold
            if merged and places.gap(merged[-1][1], first) <= self.merge_gap + TOLERANCE:
                merged[-1] = (merged[-1][0], last)
            else:
                merged.append((first, last))
        for first, last in merged:
            start, end = places.span(first, last)
            if end - start >= self.min_duration - TOLERANCE:
                yield first, last


def find_events(
    starts: Sequence[float],
    ends: Sequence[float],
    probabilities: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLD,
    release: float = 1.0,
    merge_gap: float = 0.0,
    min_duration: float = 0.0,
) -> list[Event]:
    """Find events in the probabilities of windows, which may overlap.

    An overlap belongs to both windows up to its middle, so each window stands for one part of the
    recording. With windows of 10 s every 4 s, the second one, from 4 to 14 s, stands for 7 to 11 s.
    The first and the last window also stand for the ends of the recording.

    For each class:

    1. An event is a run of neighbouring windows of at least `release * threshold`, one of which
       reaches the threshold.
    2. Events of one class with a gap of at most `merge_gap` seconds become one.
    3. Events shorter than `min_duration` seconds are removed.

    Args:
        starts, ends: (windows,) seconds, in ascending order.
        probabilities: (windows, classes), finite.
        labels: names of the classes.
        thresholds: a number for all classes; one number per class; or a dictionary from labels to
            numbers, in which None stands for a class that is never detected. Classes that the
            dictionary does not contain have a threshold of 0.5.
        release: fraction of the threshold down to which an event continues; 1: no hysteresis.

    Returns:
        Events by their start; events with the same start in the order of their classes.

    Raises:
        SpectrimError: shapes that do not fit, an unknown label, or a value out of range.
    """
    rule = EventRule(thresholds, release, merge_gap, min_duration)
    return rule.events(starts, ends, probabilities, labels)


def reason_for_no_event(
    rule: EventRule,
    starts: Sequence[float],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[str],
) -> str:
    """Why a recording has no event: a clause about the class that comes closest to one."""
    if not len(starts):
        return "it has no window"
    table = np.asarray(probabilities, np.float64)
    thresholds = class_thresholds(rule.thresholds, labels)
    if (table >= thresholds).any():
        return f"all events are shorter than {rule.min_duration:g} s"
    if np.isinf(thresholds).all():
        return "the thresholds exclude every class"
    shares = table / np.maximum(thresholds, 1e-12)  # of an excluded class: 0
    window, index = np.unravel_index(shares.argmax(), shares.shape)
    return (
        f"no class reaches its threshold. The closest is {labels[index]!r} at "
        f"{starts[window]:.1f} s with {table[window, index]:.3g} of {thresholds[index]:.3g}"
    )


class _Places:
    """The parts of a recording that windows stand for."""

    def __init__(self, starts: Sequence[float], ends: Sequence[float]) -> None:
        self.starts, self.ends = np.array(starts, np.float64), np.array(ends, np.float64)
        # After a window whose output was not finite, a part of the recording has no window.
        self.touches = self.starts[1:] <= self.ends[:-1] + TOLERANCE
        middles = (self.ends[:-1] + self.starts[1:]) / 2
        self.starts[1:][self.touches] = middles[self.touches]
        self.ends[:-1][self.touches] = middles[self.touches]

    def runs(self, is_above: np.ndarray) -> Iterator[tuple[int, int]]:
        """The first and last window of each run of neighbours, from (windows,) bool."""
        # A run ends where the next window is below, or does not touch.
        first: int | None = None
        for index, above in enumerate(is_above):
            if above and first is None:
                first = index
            is_last = index + 1 == len(is_above)
            if first is not None and (
                is_last or not is_above[index + 1] or not self.touches[index]
            ):
                yield first, index
                first = None

    def span(self, first: int, last: int) -> tuple[float, float]:
        """Start and end in seconds of a run of windows."""
        return float(self.starts[first]), float(self.ends[last])

    def gap(self, last: int, first: int) -> float:
        """Seconds between the end of a window and the start of a later one."""
        return float(self.starts[first] - self.ends[last])


def _checked(
    starts: Sequence[float],
    ends: Sequence[float],
    probabilities: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[str],
) -> np.ndarray:
    """(windows, classes) float64 probabilities; raises if they do not fit the windows."""
    if not len(starts) == len(ends) == len(probabilities):
        raise SpectrimError(
            f"{len(starts)} starts, {len(ends)} ends and {len(probabilities)} rows of "
            "probabilities; expected the same number of each."
        )
    if not len(starts):
        return np.zeros((0, len(labels)))
    table = np.asarray(probabilities, np.float64)
    if table.ndim != 2 or table.shape[1] != len(labels):
        raise SpectrimError(
            f"probabilities of shape {table.shape}; expected (windows, {len(labels)}), one column "
            "per label."
        )
    if not np.isfinite(table).all():
        raise SpectrimError("a probability is not finite. Leave out the windows without a result.")
    order = np.diff(starts) > 0, np.diff(ends) >= 0, np.subtract(ends, starts) > 0
    if not all(check.all() for check in order):
        raise SpectrimError("the windows are not in order; expected ascending starts and ends.")
    return table
