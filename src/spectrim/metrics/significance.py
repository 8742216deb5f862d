"""Tests of differences: p-values, Holm's correction, equivalence within a margin."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, sqrt

TWO_ERRORS = erfc(2 / sqrt(2))  # two-sided p-value of a difference of two standard errors: 0.0455


def p_value(difference: float, error: float) -> float:
    """Two-sided p-value of a difference with a normal standard error.

    Errors from few values are widened already (see `metrics.pooled`), so the normal distribution
    applies to them too. Without any error, a difference other than 0 has the p-value 0.
    """
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return erfc(abs(difference) / error / sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values (Scandinavian Journal of Statistics 1979).

    The smallest of m p-values is multiplied by m, the next by m - 1, and so on; a value is at least
    as large as those before it. The probability of one or more errors in all of the tests together
    is then at most the level to which the results are compared.
    """
    count, highest = len(p_values), 0.0
    corrected = [0.0] * count
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, (count - place) * p_values[index])
        corrected[index] = min(1.0, highest)
    return corrected


def equivalence_p_value(difference: float, error: float, margin: float) -> float:
    """p-value of two one-sided tests that a difference lies between -margin and margin.

    Schuirmann, doi 10.1007/BF01068419. The larger p-value of the tests against both ends.
    """

    def one_sided(distance: float) -> float:
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return erfc(distance / error / sqrt(2)) / 2

    return max(one_sided(difference + margin), one_sided(margin - difference))
