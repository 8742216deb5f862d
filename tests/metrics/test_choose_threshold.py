"""Thresholds, against a search that tries every one of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from spectrim.metrics.choose_threshold import choose_threshold
from spectrim.metrics.classification import resampling_weights
from spectrim.metrics.intervals import share_interval


def candidates(scores):
    """From the highest: the middle between each two neighbouring values, and 0."""
    values = sorted(set(scores.astype(np.float64).tolist()), reverse=True)
    return [(high + low) / 2 for high, low in itertools.pairwise(values)] + [0.0]


def measures(scores, truth, threshold):
    accepted = scores >= threshold
    hits = int((accepted & truth).sum())
    f1 = 2 * hits / (accepted.sum() + truth.sum())
    return f1, hits / accepted.sum() if accepted.any() else 0.0, hits


def brute_force(scores, truth, precision, thresholds):
    """The first best threshold; None if none reaches the precision or no clip has the class."""
    best, best_value = None, 0.0
    for threshold in thresholds:
        f1, share, hits = measures(scores, truth, threshold)
        value = f1 if precision is None else hits if share >= precision - 1e-12 else 0
        if value > best_value:
            best, best_value = threshold, value
    return best


def cases(count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        clips = int(rng.integers(2, 30))
        truth = rng.random(clips) < rng.choice([0.2, 0.5, 0.8])
        truth[:2] = True, False
        noise = rng.random(clips)
        scores = (0.5 * noise + 0.5 * truth * rng.random(clips)).astype(np.float32)
        yield (scores.round(1) if rng.random() < 0.5 else scores), truth  # with and without ties


@pytest.mark.parametrize("precision", [None, 0.7, 1.0])
def test_the_best_threshold_equals_that_of_the_full_search(precision):
    num_none = 0
    for scores, truth in cases(40):
        scores64 = scores.astype(np.float64)
        expected = brute_force(scores64, truth, precision, candidates(scores))
        chosen = choose_threshold(scores, truth, precision)
        if expected is None:
            assert chosen is None
            num_none += 1
            continue
        assert chosen.threshold.value == expected
        accepted = scores64 >= expected
        assert chosen.f1.value == pytest.approx(f1_score(truth, accepted))
        assert chosen.precision.value == pytest.approx(precision_score(truth, accepted))
        assert chosen.recall.value == pytest.approx(recall_score(truth, accepted))
        assert chosen.positives == truth.sum()
    assert (num_none > 2) == (precision is not None)


@pytest.mark.parametrize("precision", [None, 0.7])
def test_intervals_equal_those_of_repeated_clips(precision):
    (scores, truth), *_ = [case for case in cases(60) if len(case[0]) > 20]
    chosen = choose_threshold(scores, truth, precision)
    thresholds, values = [], []
    for weights in resampling_weights(len(scores)):
        drawn, hits = np.repeat(scores.astype(np.float64), weights), np.repeat(truth, weights)
        best = brute_force(drawn, hits, precision, candidates(scores))
        thresholds += [] if best is None else [best]
        values.append(measures(drawn, hits, chosen.threshold.value)[0])
    low, high = np.quantile(thresholds, [0.025, 0.975])
    assert (chosen.threshold.low, chosen.threshold.high) == pytest.approx((low, high))
    low, high = np.quantile(values, [0.025, 0.975])
    assert (chosen.f1.low, chosen.f1.high) == pytest.approx((low, high))
    accepted = scores >= chosen.threshold.value
    hits = int((accepted & truth).sum())
    assert chosen.precision == share_interval(hits, int(accepted.sum()))
    assert chosen.recall == share_interval(hits, int(truth.sum()))


def test_resamples_are_computed_in_pieces(monkeypatch):
    (scores, truth), *_ = [case for case in cases(60) if len(case[0]) > 20]
    whole = choose_threshold(scores, truth)
    monkeypatch.setattr("spectrim.metrics.choose_threshold.VALUES_AT_ONCE", 100)
    assert choose_threshold(scores, truth) == whole


def test_two_float32_neighbours_are_separated():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    chosen = choose_threshold(np.array([low, high]), np.array([False, True]))
    assert float(low) < chosen.threshold.value < float(high)
