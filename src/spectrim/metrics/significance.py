"""Tests of differences: p-values, Holm's correction, equivalence within a margin."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from scipy.special import stdtr, stdtrit

# Two-sided p-value of a difference of exactly two standard errors.
SIGNIFICANCE_LEVEL = 0.05
NORMAL = 1e9  # degrees of freedom that stand for the normal distribution


def p_value(difference: float, error: float, freedom: float = inf) -> float:
    """Two-sided p-value of a difference by Student's distribution.

    Errors are scaled such that two errors are half of the 95 % interval, see `metrics.pooled`. So
    two errors have the p-value 0.05 with any degrees of freedom. If the error is 0, the p-value is
    1 for a difference of 0, and else 0.

    Args:
        freedom: degrees of freedom of the error; inf: the normal distribution.
    """
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return 2 * _tail(abs(difference) / error, freedom)


def _tail(errors: float, freedom: float) -> float:
    """Probability of more than this number of errors in one direction."""
    t = errors / 2 * stdtrit(min(freedom, NORMAL), 0.975)
    return float(stdtr(min(freedom, NORMAL), -t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values (Scandinavian Journal of Statistics 1979).

    The smallest of m p-values is multiplied by m, the next by m - 1, and so on. Each result is at
    least as large as the results of smaller p-values, and at most 1. Example: 0.01, 0.03 and 0.04
    become 0.03, 0.06 and 0.06.

    If all results below a level are called significant, the probability of one or more false
    positives among the m tests is at most this level. The tests may depend on each other.
    """
    count, highest = len(p_values), 0.0
    corrected = [0.0] * count
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, (count - rank) * p_values[index])
        corrected[index] = min(1.0, highest)
    return corrected


def equivalence_p_value(
    difference: float, error: float, margin: float, freedom: float = inf
) -> float:
    """p-value of an equivalence test: a small one shows that |difference| is below the margin.

    Two one-sided tests (Schuirmann, doi 10.1007/BF01068419): one shows that the difference is above
    -margin, the other that it is below margin. The larger of the two p-values is returned.
    `freedom` is as for `p_value`.
    """

    def one_sided(distance: float) -> float:
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return _tail(distance / error, freedom)

    return max(one_sided(difference + margin), one_sided(margin - difference))
