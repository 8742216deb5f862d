"""95 % intervals of means, shares and paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z95 = 1.959964  # normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of independent values from 0 to 1 with its normal 95 % interval.

    For a single value the interval is 0 to 1, because its spread is unknown.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, 0.0, 1.0)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(mean, mean - Z95 * error, mean + Z95 * error)


def share_interval(hits: int, count: int) -> Interval:
    """A share with Wilson's 95 % interval, which also holds at shares of 0 and 1."""
    share = hits / count
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 * (share * (1 - share) / count + Z95**2 / (4 * count**2)) ** 0.5
    half /= 1 + Z95**2 / count
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def bonett_price(changes: np.ndarray) -> tuple[float, float]:
    """Centre and standard error of a mean paired difference (doi 10.3102/1076998611411915).

    Two clips are added, one with a change of 1 and one with a change of -1. So a few changes in one
    direction are not yet a trend, and no change at all does not give an error of 0. For 10 clips
    without any change the error is sqrt(2 / 12) / sqrt(12) = 0.118.

    Args:
        changes: (clips,) from -1 (right before, wrong now) to 1.
    """
    wider = np.append(changes, (1.0, -1.0))
    return float(wider.mean()), float(wider.std() / len(wider) ** 0.5)


def difference_interval(changes: np.ndarray) -> Interval:
    """Mean of (clips,) paired differences with Bonett and Price's interval."""
    centre, error = bonett_price(changes)
    low, high = max(-1.0, centre - Z95 * error), min(1.0, centre + Z95 * error)
    return Interval(float(changes.mean()), low, high)
