"""p-values, Holm's correction and equivalence, against SciPy and plain computations."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy import stats

from spectrim.metrics.significance import SIGNIFICANCE_LEVEL, equivalence_p_value, holm, p_value


@pytest.mark.parametrize("freedom", [1, 2, 7.5, 40, inf])
@pytest.mark.parametrize("errors", [0.0, 0.5, 2.0, 7.0])
def test_p_value_is_that_of_students_distribution(errors: float, freedom: float) -> None:
    """Two errors are half of the 95 % interval."""
    student = stats.norm if freedom == inf else stats.t(freedom)
    t = errors / 2 * student.ppf(0.975)
    assert p_value(errors * 0.01, 0.01, freedom) == pytest.approx(2 * student.sf(t), rel=1e-5)
    assert p_value(-errors * 0.01, 0.01, freedom) == p_value(errors * 0.01, 0.01, freedom)


def test_exactly_two_errors_are_the_limit() -> None:
    for freedom in (1, 2.5, 30, inf):
        assert p_value(0.5, 0.25, freedom) == pytest.approx(SIGNIFICANCE_LEVEL)
    assert (p_value(0.0, 0.0), p_value(0.1, 0.0)) == (1.0, 0.0)


def step_down(p_values: list[float], level: float) -> list[bool]:
    """Holm's procedure: reject in ascending order until p exceeds level / remaining tests."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def test_holm_rejects_what_the_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 5, 20):
        for _ in range(50):
            values = (rng.random(count) ** 4).tolist()
            for level in (0.01, 0.05, 0.2):
                assert [p <= level for p in holm(values)] == step_down(values, level)


def test_holm_of_a_known_example() -> None:
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("difference", "error"), [(0.0, 0.003), (-0.006, 0.002), (0.02, 0.004)])
def test_equivalence_is_the_larger_of_two_one_sided_tests(difference: float, error: float) -> None:
    scale = stats.norm.ppf(0.975) / 2
    lower = stats.norm.sf((difference + 0.01) / error * scale)
    upper = stats.norm.cdf((difference - 0.01) / error * scale)
    assert equivalence_p_value(difference, error, 0.01) == pytest.approx(max(lower, upper))


def test_without_error_equivalence_compares_with_the_margin() -> None:
    assert equivalence_p_value(0.005, 0.0, 0.01) == 0.0
    assert equivalence_p_value(0.01, 0.0, 0.01) == equivalence_p_value(-0.02, 0.0, 0.01) == 1.0
