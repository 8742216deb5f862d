"""What a grid's page calls a trend."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spectrim.evaluation.metrics import Z95, paired_difference
from spectrim.training.grid_findings import ATTENTION, Case, summary, verdict
from spectrim.training.grid_numbers import _gap_over_clips


def test_a_difference_under_two_standard_errors_is_no_trend() -> None:
    assert verdict(0.03, 0.01) == "shows"
    assert verdict(0.015, 0.01) == "cannot tell"
    assert verdict(-0.03, 0.01) == "does not show"
    assert verdict(0.0, 0.0) == "cannot tell"


@pytest.mark.parametrize("clips", [80, 300])
def test_no_trend_is_called_that_an_exact_test_denies(clips: int) -> None:
    """McNemar's exact test (SciPy): 4 clips won and none lost are p = 0.125, no trend."""
    paths, called = np.arange(clips).astype(str), 0
    for won in range(25):
        for lost in range(won):
            change = np.repeat((1.0, -1.0, 0.0), (won, lost, clips - won - lost))
            if verdict(*_gap_over_clips([(paths, change)])) == "shows":
                assert stats.binomtest(won, won + lost).pvalue < 0.08, (won, lost)
                called += 1
            else:
                assert stats.binomtest(won, won + lost).pvalue > 0.02, (won, lost)
    assert called > 100


def test_the_error_of_a_gap_is_that_of_a_sweeps_interval() -> None:
    """`paired_difference` has Bonett and Price's formula as they write it, by counts."""
    truth = np.eye(2, dtype=bool)[np.zeros(40, int)]
    base, outputs = (np.eye(2)[(np.arange(40) % every == 0).astype(int)] for every in (4, 7))
    change = (1.0 - outputs[:, 1]) - (1.0 - base[:, 1])
    value, error = _gap_over_clips([(np.arange(40).astype(str), change)])
    interval = paired_difference("accuracy", outputs, base, truth)
    assert value == pytest.approx(interval.value)
    assert error == pytest.approx((interval.high - interval.low) / 2 / Z95)


def test_findings_are_counted_and_averaged() -> None:
    figures = [(0.03, 0.01), (-0.005, 0.01), (-0.04, 0.016)]
    cases = [Case(ATTENTION, "fine-tuned", "a", *pair) for pair in figures]
    lines = summary(cases)
    assert lines[2] == f"| {ATTENTION} | fine-tuned | 1 | 1 | 1 | -0.5 ± 1.2 | cannot tell |"
    assert "no such cells yet" in lines[3]
    assert all(line.count("|") == 8 for line in lines)
