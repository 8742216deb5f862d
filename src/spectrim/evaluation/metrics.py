"""Accuracy and mean average precision, with intervals of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

Z95 = 1.959964  # normal quantile of a two-sided 95 % interval
RESAMPLES = 200


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def indicator(targets: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Class indices a clip to (clips, classes) bool."""
    table = np.zeros((len(targets), classes), bool)
    for row, target in zip(table, targets, strict=True):
        row[list(target)] = True
    return table


def metric(name: str, outputs: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy or mAP of (clips, classes) outputs against (clips, classes) bool, 0 to 1.

    mAP is the mean over the classes that occur, as scikit-learn defines average precision.
    """
    if name == "accuracy":
        return float(_right(outputs, truth).mean())
    occurs = truth.any(0)
    if not occurs.any():
        return 0.0
    return float(average_precision_score(truth[:, occurs], outputs[:, occurs], average="macro"))


def paired_difference(
    name: str, outputs: np.ndarray, base: np.ndarray, truth: np.ndarray
) -> Interval:
    """Metric of `outputs` less that of `base` on the same clips.

    Accuracy: Bonett and Price's interval (doi 10.3102/1076998611411915), which adds one clip
    to those won and one to those lost, so that it has a width where none changed. mAP:
    bootstrap over clips (200 resamples of a fixed seed), as its clips are not terms of a mean.
    """
    if name == "accuracy":
        change = _right(outputs, truth).astype(int) - _right(base, truth)
        count = len(change)
        won, lost = (((change == sign).sum() + 1) / (count + 2) for sign in (1, -1))
        error = ((won + lost - (won - lost) ** 2) / (count + 2)) ** 0.5
        low, high = won - lost - Z95 * error, won - lost + Z95 * error
        return Interval(float(change.mean()), float(max(-1, low)), float(min(1, high)))
    value = metric(name, outputs, truth) - metric(name, base, truth)
    draws = _draws(len(truth))
    spread = _weighted_map(outputs, truth, draws) - _weighted_map(base, truth, draws)
    low, high = np.quantile(spread, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def standard_error(name: str, outputs: np.ndarray, truth: np.ndarray) -> float | None:
    """Of the metric over clips; None for a single clip.

    Accuracy: that of a share. mAP: the spread over 200 bootstrap resamples of the clips, of a
    fixed seed, as its clips are not terms of a mean.
    """
    if len(truth) < 2:
        return None
    if name == "accuracy":
        share = metric(name, outputs, truth)
        return float((share * (1 - share) / len(truth)) ** 0.5)
    return float(_weighted_map(outputs, truth, _draws(len(truth))).std(ddof=1))


def weighted_metric(
    name: str, outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(draws,) the metric with (draws, clips) weights 0, 1, 2...: how often each clip counts."""
    if name == "accuracy":
        return weights @ _right(outputs, truth) / weights.sum(1)
    return _weighted_map(outputs, truth, weights)


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of independent values with its normal 95 % interval."""
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Interval(mean, mean - Z95 * error, mean + Z95 * error)


def share_interval(hits: int, count: int) -> Interval:
    """A share with Wilson's 95 % interval, which holds at 0 and 1 too."""
    share = hits / count
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 * (share * (1 - share) / count + Z95**2 / (4 * count**2)) ** 0.5
    half /= 1 + Z95**2 / count
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def _right(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth[np.arange(len(truth)), outputs.argmax(1)]


def _draws(clips: int) -> np.ndarray:
    """(resamples, clips) how often a bootstrap draws each clip."""
    return np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), RESAMPLES)


def _weighted_map(outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(resamples,) mAP with (resamples, clips) integer weights; one sort a class for all."""
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    for column in np.flatnonzero(truth.any(0)):
        order = np.argsort(-outputs[:, column], kind="stable")
        weight = weights[:, order].astype(float)
        hits = weight * truth[order, column]
        found, positives = hits.cumsum(1), hits.sum(1)
        precision = found / np.maximum(weight.cumsum(1), 1)
        # Clips of the same output come together: theirs is the precision after the last of them.
        ends = np.flatnonzero(np.diff(outputs[order, column], append=np.nan) != 0)
        precision = precision[:, ends[np.searchsorted(ends, np.arange(len(order)))]]
        there = positives > 0
        total[there] += (precision * hits).sum(1)[there] / positives[there]
        classes += there
    return total / np.maximum(classes, 1)
