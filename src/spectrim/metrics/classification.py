"""Accuracy and mean average precision, with intervals of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score

from .intervals import Interval, difference_interval

RESAMPLES = 200


def indicator(targets: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Class indices of each clip to (clips, classes) bool."""
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
    """Metric of `outputs` minus the metric of `base` on the same clips.

    Accuracy: Bonett and Price's interval, see `bonett_price`. mAP is not a mean over clips, so its
    interval comes from a bootstrap over clips (200 resamples with a fixed seed). For a single
    clip the interval of mAP is -1 to 1.

    Args:
        resampled: `resampled_map` of both, if the caller has them already.
    """
    if name == "accuracy":
        change = _right(outputs, truth).astype(int) - _right(base, truth)
        return difference_interval(change)
    value = metric(name, outputs, truth) - metric(name, base, truth)
    if len(truth) < 2:
        return Interval(value, -1.0, 1.0)
    resampled_outputs, resampled_base = resampled or (
        resampled_map(outputs, truth),
        resampled_map(base, truth),
    )
    spread = resampled_outputs - resampled_base
    low, high = np.quantile(spread, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def standard_error(
    name: str, outputs: np.ndarray, truth: np.ndarray, resampled: np.ndarray | None = None
) -> float | None:
    """Standard error of the metric over clips; None for a single clip.

    Accuracy: the standard error of a proportion. mAP is not a mean over clips: its error is the
    standard deviation over 200 bootstrap resamples of the clips with a fixed seed.

    Args:
        resampled: `resampled_map` of the outputs, if the caller has it already.
    """
    if len(truth) < 2:
        return None
    if name == "accuracy":
        share = metric(name, outputs, truth)
        return float((share * (1 - share) / len(truth)) ** 0.5)
    resampled = resampled_map(outputs, truth) if resampled is None else resampled
    return float(resampled.std(ddof=1))


def resampled_map(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(resamples,) mAP over bootstrap resamples of the clips, with a fixed seed."""
    return _weighted_map(outputs, truth, resampling_weights(len(truth)))


def weighted_metric(
    name: str, outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(draws,) the metric with (draws, clips) weights 0, 1, 2...: the count of each clip."""
    if name == "accuracy":
        return weights @ _right(outputs, truth) / weights.sum(1)
    return _weighted_map(outputs, truth, weights)


def _right(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth[np.arange(len(truth)), outputs.argmax(1)]


def resampling_weights(clips: int) -> np.ndarray:
    """(resamples, clips) how often a bootstrap draws each clip."""
    return np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), RESAMPLES)


def _weighted_map(outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) mAP with (draws, clips) weights 0, 1, 2...; one sort per class for all draws.

    Average precision is the mean, over the hits of a class, of the precision at each hit. Take
    six clips by falling output, hits in capitals: A b C d e F. Unweighted, precision is 1/1 at A,
    2/3 at C and 3/6 at F. With the weights 2 0 1 1 0 1 of one draw, A counts twice: precision is
    2/2 at A, 3/3 at C and 4/5 at F, and the mean over hits (2 * 1 + 1 * 1 + 1 * 0.8) / 4. Clips
    between two hits matter only by the sum of their weights: segments A, bC, deF are summed.
    """
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    small = np.min_scalar_type(int(weights.max(initial=0)))  # gathering takes most of the time
    by_clip = np.ascontiguousarray(weights.T, dtype=small)
    for column in np.flatnonzero(truth.any(0)):
        order = np.argsort(-outputs[:, column], kind="stable")
        # Ranks at which a run of equal outputs ends. Tied clips enter together: each of them has
        # the precision after the last one.
        last = np.flatnonzero(np.diff(outputs[order, column], append=np.nan) != 0)
        hit_ranks = np.flatnonzero(truth[order, column])
        # Ends of the runs that hold a hit, and the first hit of each; a segment ends with a run.
        ends, first = np.unique(last[np.searchsorted(last, hit_ranks)], return_index=True)
        weight = by_clip[order[: ends[-1] + 1]]
        # (segments, draws): clips up to the end of each segment, hits in it, and hits up to it.
        seen = np.add.reduceat(weight, np.append(0, ends[:-1] + 1), 0, np.int64).cumsum(0)
        hits = np.add.reduceat(weight[hit_ranks], first, 0, np.int64)
        hits_so_far = hits.cumsum(0)
        # A draw without any hit of the class excludes the class from its mean.
        occurs = hits_so_far[-1] > 0
        value = (hits * (hits_so_far / np.maximum(seen, 1))).sum(0)
        total[occurs] += value[occurs] / hits_so_far[-1][occurs]
        classes += occurs
    return total / np.maximum(classes, 1)
