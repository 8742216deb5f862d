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
    name: str,
    outputs: np.ndarray,
    base: np.ndarray,
    truth: np.ndarray,
    resampled: tuple[np.ndarray, np.ndarray] | None = None,
) -> Interval:
    """Metric of `outputs` less that of `base` on the same clips.

    `resampled`: `resampled_map` of both, for callers that have them.

    Accuracy: Bonett and Price's interval (doi 10.3102/1076998611411915), which adds one clip
    to those won and one to those lost, so that it has a width where none changed. mAP:
    bootstrap over clips (200 resamples of a fixed seed), as its clips are not terms of a mean;
    of one clip, which says nothing of others, from -1 to 1.
    """
    if name == "accuracy":
        change = _right(outputs, truth).astype(int) - _right(base, truth)
        count = len(change)
        won, lost = (((change == sign).sum() + 1) / (count + 2) for sign in (1, -1))
        error = ((won + lost - (won - lost) ** 2) / (count + 2)) ** 0.5
        low, high = won - lost - Z95 * error, won - lost + Z95 * error
        return Interval(float(change.mean()), float(max(-1, low)), float(min(1, high)))
    value = metric(name, outputs, truth) - metric(name, base, truth)
    if len(truth) < 2:
        return Interval(value, -1.0, 1.0)
    own, other = resampled or (resampled_map(outputs, truth), resampled_map(base, truth))
    spread = own - other
    low, high = np.quantile(spread, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def standard_error(
    name: str, outputs: np.ndarray, truth: np.ndarray, resampled: np.ndarray | None = None
) -> float | None:
    """Of the metric over clips; None for a single clip.

    Accuracy: that of a share. mAP: the spread over 200 bootstrap resamples of the clips, of a
    fixed seed, as its clips are not terms of a mean; `resampled`: `resampled_map` of them.
    """
    if len(truth) < 2:
        return None
    if name == "accuracy":
        share = metric(name, outputs, truth)
        return float((share * (1 - share) / len(truth)) ** 0.5)
    resampled = resampled_map(outputs, truth) if resampled is None else resampled
    return float(resampled.std(ddof=1))


def resampled_map(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(resamples,) mAP over bootstrap resamples of the clips, of a fixed seed."""
    return _weighted_map(outputs, truth, _draws(len(truth)))


def weighted_metric(
    name: str, outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(draws,) the metric with (draws, clips) weights 0, 1, 2...: how often each clip counts."""
    if name == "accuracy":
        return weights @ _right(outputs, truth) / weights.sum(1)
    return _weighted_map(outputs, truth, weights)


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of independent values from 0 to 1 with its normal 95 % interval.

    One value says nothing of others: from 0 to 1.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, 0.0, 1.0)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
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
    """(draws,) mAP with (draws, clips) weights 0, 1, 2...; one sort a class for all.

    Precision is wanted where there are hits alone, of which a class has few: clips in between are
    only summed up.
    """
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    small = np.min_scalar_type(int(weights.max(initial=0)))  # gathering is most of the time
    by_clip = np.ascontiguousarray(weights.T, dtype=small)
    for column in np.flatnonzero(truth.any(0)):
        order = np.argsort(-outputs[:, column], kind="stable")
        # Clips of the same output come together: theirs is the precision after the last of them.
        last = np.flatnonzero(np.diff(outputs[order, column], append=np.nan) != 0)
        places = np.flatnonzero(truth[order, column])
        ends, first = np.unique(last[np.searchsorted(last, places)], return_index=True)
        weight = by_clip[order[: ends[-1] + 1]]
        seen = np.add.reduceat(weight, np.append(0, ends[:-1] + 1), 0, np.int64).cumsum(0)
        hits = np.add.reduceat(weight[places], first, 0, np.int64)
        found = hits.cumsum(0)
        there = found[-1] > 0
        value = (hits * (found / np.maximum(seen, 1))).sum(0)
        total[there] += value[there] / found[-1][there]
        classes += there
    return total / np.maximum(classes, 1)
