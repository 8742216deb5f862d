"""Standard errors of any statistic that is computed from sums over clips, in fixed memory.

Clips are assigned to at most 50 groups, and each group has its own sums. The statistic is computed
again with each group left out (delete-a-group jackknife; Kott 2001, Journal of Official Statistics
17, 521). With 50 clips or fewer this is the ordinary jackknife over clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GROUPS = 50


@dataclass(frozen=True)
class Estimate:
    """Values with standard errors over clips; NaN where a value or an error is undefined."""

    value: np.ndarray
    error: np.ndarray

    def plain(self, *index: int) -> dict[str, float | None]:
        """One entry as {"value", "error"}; None where undefined."""
        return {"value": plain(self.value[index]), "error": plain(self.error[index])}


def plain(number: float | np.floating | np.ndarray) -> float | None:
    """A number for JSON: None if it is not finite."""
    return float(number) if np.isfinite(number) else None


def deal(clips: int, seed: int) -> np.ndarray:
    """(clips,) random group of each clip, so neighbours in a list are in different groups."""
    return np.random.default_rng(seed).permutation(clips) % GROUPS


def estimate(sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A statistic of sums over clips, with its standard error.

    Args:
        sums: (groups, ...) sums of each group; groups without any clip are zero.
        statistic: function from (...) to any shape; a division by zero gives NaN.

    Returns:
        The statistic of all groups together. Its error is NaN if fewer than two groups hold a
        clip, or where the statistic is undefined without one of the groups.
    """
    total = sums.sum(0)
    nonempty = [group for group in sums if group.any()]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.asarray(statistic(total), float)
        if len(nonempty) < 2:
            return Estimate(value, np.full(value.shape, np.nan))
        left_out = np.stack([np.asarray(statistic(total - group), float) for group in nonempty])
    return from_left_out(value, left_out)


def from_left_out(value: np.ndarray, left_out: np.ndarray) -> Estimate:
    """Standard error of a statistic from (groups, ...), its values with each group left out."""
    count = len(left_out)
    if count < 2:
        return Estimate(value, np.full(np.shape(value), np.nan))
    with np.errstate(invalid="ignore"):  # infinite without one group: undefined
        spread = ((left_out - left_out.mean(0)) ** 2).sum(0)
    return Estimate(value, np.sqrt((count - 1) / count * spread))
