"""Metrics against scikit-learn and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from spectrim.evaluation.agreement import agreement
from spectrim.metrics.classification import (
    _weighted_map,
    indicator,
    metric,
    paired_difference,
    resampled_map,
    standard_error,
    weighted_metric,
)
from spectrim.metrics.intervals import mean_interval, share_interval

rng = np.random.default_rng(0)


def test_map_by_hand():
    # Class 0: relevant at ranks 1 and 3 -> (1/1 + 2/3) / 2; class 1: at rank 2 -> 1/2;
    # class 2 never occurs and does not count.
    outputs = np.array([[0.9, 0.1, 0.5], [0.8, 0.9, 0.5], [0.7, 0.5, 0.5]])
    truth = indicator([[0], [], [0, 1]], 3)
    assert metric("mAP", outputs, truth) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_accuracy_counts_the_top_class():
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert metric("accuracy", outputs, indicator([[1], [1], [1]], 2)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("digits", [16, 1], ids=["apart", "tied"])
def test_weighted_map_equals_scikit_learn_on_resampled_clips(digits):
    outputs, truth = rng.random((40, 6)).round(digits), rng.random((40, 6)) < 0.3
    draws = rng.multinomial(40, np.full(40, 1 / 40), 5)
    for draw, value in zip(draws, _weighted_map(outputs, truth, draws), strict=True):
        rows = np.repeat(np.arange(40), draw)
        there = truth[rows].any(0)
        expected = average_precision_score(truth[rows][:, there], outputs[rows][:, there])
        # Repeated clips tie, and clips of the same output: scikit-learn takes them together.
        assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["accuracy", "mAP"])
def test_paired_difference_of_equal_outputs_is_nothing(name):
    outputs = rng.random((50, 4))
    truth = indicator([[int(i)] for i in rng.integers(0, 4, 50)], 4)
    found = paired_difference(name, outputs, outputs, truth)
    assert found.value == 0
    assert found.low <= 0 <= found.high
    # Where nothing changed in 50 clips, a change in a few of 100 cannot be ruled out.
    assert name == "mAP" or 0.02 < found.high < 0.1


def test_paired_interval_covers_a_planted_difference():
    """Ten of 200 clips go wrong: the interval holds -5 points, in about 95 % of worlds."""
    hits, worlds = 0, 300
    for _ in range(worlds):
        truth = indicator([[0]] * 200, 2)
        base = np.tile([1.0, 0.0], (200, 1))
        wrong = rng.random(200) < 0.05
        found = paired_difference(
            "accuracy", np.where(wrong[:, None], [0.0, 1.0], base), base, truth
        )
        hits += found.low <= -0.05 <= found.high
    assert 0.90 <= hits / worlds <= 1.0


def test_map_interval_is_of_the_differences_of_resamples():
    """Of a better model above zero; between planted resamples 2.5 % from either end."""
    truth = rng.random((60, 2)) < 0.4
    base = rng.normal(0, 1, truth.shape)
    found = paired_difference("mAP", base + 2 * truth, base, truth)
    assert 0 < found.low < found.value < found.high < 1
    worse = rng.random(201)
    planted = worse + rng.permutation(np.linspace(0.1, 0.3, 201)), worse
    found = paired_difference("mAP", base + 2 * truth, base, truth, planted)
    assert (found.low, found.high) == pytest.approx((0.105, 0.295))


def test_intervals_against_their_definitions():
    wilson = share_interval(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(wilson.low, 4), round(wilson.high, 4)) == (0.2553, 0.3662)
    assert share_interval(10, 10).high == pytest.approx(1.0)
    assert share_interval(0, 10).low == pytest.approx(0.0)
    mean = mean_interval(np.array([0.1, 0.2, 0.4]))  # deviations of -4/30, -1/30 and 5/30
    half = 1.959964 * (42 / 900 / 2) ** 0.5 / 3**0.5
    assert (mean.value, mean.low, mean.high) == pytest.approx(
        (7 / 30, 7 / 30 - half, 7 / 30 + half)
    )
    one = mean_interval(np.array([0.3]))
    assert (one.value, one.low, one.high) == (0.3, 0.0, 1.0), "one value says nothing of others"
    truth, outputs = np.array([[True, False]]), np.array([[0.9, 0.1]])
    lone = paired_difference("mAP", outputs, outputs[:, ::-1], truth)
    assert (lone.value, lone.low, lone.high) == (0.0, -1.0, 1.0)


def test_agreement_on_planted_changes():
    labels = [f"c{i}" for i in range(8)]
    base = rng.dirichlet(np.ones(8), 100)
    same = agreement(base, base, labels)
    assert same["top1"]["value"] == same["top5"]["value"] == 1.0
    assert same["largest_change"] == 0.0
    changed = base.copy()
    top = base[0].argmax()
    other = (top + 1) % 8
    changed[0, [top, other]] = base[0, [other, top]]  # one clip answers another class
    changed[1, 3] += 0.5
    found = agreement(changed, base, labels)
    flips = int((changed.argmax(1) != base.argmax(1)).sum())
    assert found["top1"]["value"] == 1 - flips / 100
    assert found["largest_change"] == pytest.approx(0.5)
    assert found["largest_change_label"] == "c3"
    slow = np.mean(
        [
            len(set(np.argsort(-a)[:5]) & set(np.argsort(-b)[:5])) / 5
            for a, b in zip(changed, base, strict=True)
        ]
    )
    assert found["top5"]["value"] == pytest.approx(slow)
    assert agreement(base[:, :3], base[:, :3], labels[:3])["top5"] is None


@pytest.mark.parametrize("name", ["accuracy", "mAP"])
def test_weights_count_a_clip_as_often(name):
    outputs, truth = rng.random((30, 4)), indicator([[int(i)] for i in rng.integers(0, 4, 30)], 4)
    draws = rng.integers(0, 3, (5, 30))
    for draw, value in zip(draws, weighted_metric(name, outputs, truth, draws), strict=True):
        rows = np.repeat(np.arange(30), draw)
        assert value == pytest.approx(metric(name, outputs[rows], truth[rows]))


def test_standard_errors_are_what_worlds_scatter():
    """Of 60 clips drawn anew 400 times, the metric scatters as one draw says, within a quarter."""
    for name in ("accuracy", "mAP"):
        values, errors = [], []
        for _ in range(400):
            truth = indicator([[int(i)] for i in rng.integers(0, 3, 60)], 3)
            outputs = truth * 0.5 + rng.normal(0, 0.5, truth.shape)
            values.append(metric(name, outputs, truth))
            if len(errors) < 30:
                errors.append(standard_error(name, outputs, truth))
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
        assert standard_error(name, outputs[:1], truth[:1]) is None


def test_change_is_of_the_class_that_changes_most():
    base = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    found = agreement(np.array([[0.5, 0.4, 0.1], [0.1, 0.55, 0.35]]), base, ["a", "b", "c"])
    assert found["change"]["value"] == pytest.approx((0.2 + 0.05) / 2)


def test_resamples_that_a_caller_has_change_nothing():
    outputs, base = rng.random((40, 3)), rng.random((40, 3))
    truth = rng.random((40, 3)) < 0.3
    pair = resampled_map(outputs, truth), resampled_map(base, truth)
    assert paired_difference("mAP", outputs, base, truth, pair) == paired_difference(
        "mAP", outputs, base, truth
    )
    assert standard_error("mAP", outputs, truth, pair[0]) == standard_error("mAP", outputs, truth)


def test_a_class_that_a_draw_lacks_does_not_count_in_it():
    outputs, truth = rng.random((4, 2)), np.array([[1, 0], [0, 0], [0, 1], [0, 0]], bool)
    draws = np.array([[1, 1, 0, 2], [0, 2, 0, 2], [300, 1, 1, 0]])
    found = _weighted_map(outputs, truth, draws)
    rows = [0, 1, 3, 3]
    assert found[0] == pytest.approx(average_precision_score(truth[rows, 0], outputs[rows, 0]))
    assert found[1] == 0
    rows = np.repeat(np.arange(4), draws[2])
    assert found[2] == pytest.approx(average_precision_score(truth[rows], outputs[rows]))
