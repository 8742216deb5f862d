"""Tests of differences: p-values, Holm's correction, equivalence within a margin."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, sqrt

# Two-sided p-value of a difference of exactly two standard errors: 0.0455.
SIGNIFICANCE_LEVEL = erfc(2 / sqrt(2))


def p_value(difference: float, error: float) -> float:
    """Two-sided p-value of a difference with a normal standard error.

    `metrics.pooled` widens an error that comes from the spread of few repetitions: two widened
    errors are half of Student's 95 % interval. So the normal p-value of such an error is correct
    near 0.05. Further away from zero it is too small, because Student's distribution has heavier
    tails. If the error is 0, the p-value is 1 for a difference of 0, and else 0.
    """
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return erfc(abs(difference) / error / sqrt(2))


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


def equivalence_p_value(difference: float, error: float, margin: float) -> float:
    """p-value of an equivalence test: a small one shows that |difference| is below the margin.

    Two one-sided tests (Schuirmann, doi 10.1007/BF01068419): one shows that the difference is above
    -margin, the other that it is below margin. The larger of the two p-values is returned.
    """

    def one_sided(distance: float) -> float:
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return erfc(distance / error / sqrt(2)) / 2

    return max(one_sided(difference + margin), one_sided(margin - difference))
