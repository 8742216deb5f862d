"""Thresholds of one class: the best F1, or the best recall at a precision, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .classification import resampling_weights
from .intervals import Interval, share_interval

VALUES_AT_ONCE = 4_000_000  # of resamples times clips, which limits the memory
ROUNDING = 1e-9  # of a product such as 0.7 * 10


@dataclass(frozen=True)
class ClassThreshold:
    """A threshold, and what it achieves on the clips that it was chosen on.

    Attributes:
        threshold: a class is present if its probability is at least this high. The interval
            contains the thresholds that 95 % of the resamples would choose.
        f1: with the bootstrap interval over clips at this threshold.
        precision, recall: with Wilson's intervals.
        positives: number of clips of the class.
    """

    threshold: Interval
    f1: Interval
    precision: Interval
    recall: Interval
    positives: int


def choose_threshold(
    scores: np.ndarray, truth: np.ndarray, precision: float | None = None
) -> ClassThreshold | None:
    """Choose the threshold of one class.

    A threshold lies in the middle between the lowest probability that it accepts and the highest
    that it rejects. It is 0 if it accepts all clips. Equally good thresholds: the highest one.

    Args:
        scores: (clips,) probabilities.
        truth: (clips,) bool: which clips have the class; some must, and some must not.
        precision: maximise the recall among thresholds with at least this precision; None:
            maximise F1 = 2 TP / (2 TP + FP + FN).

    Returns:
        None if no threshold reaches the precision.
    """
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order].astype(np.float64), truth[order]
    # Clips of equal probability are accepted together: a cut lies behind the last of them.
    last = np.flatnonzero(np.diff(scores, append=-np.inf) != 0)
    thresholds = np.append((scores[last[:-1]] + scores[last[:-1] + 1]) / 2, 0.0)
    counts = _Counts.of(np.ones((1, len(scores))), truth, last)
    best = int(counts.best(precision)[0])
    if best < 0:
        return None
    chosen, f1 = [], []
    weights = resampling_weights(len(scores))[:, order]
    rows = max(1, VALUES_AT_ONCE // len(scores))
    for start in range(0, len(weights), rows):
        resampled = _Counts.of(weights[start : start + rows], truth, last)
        cuts = resampled.best(precision)
        chosen.append(thresholds[cuts[cuts >= 0]])
        f1.append(resampled.f1()[:, best])
    threshold, value = float(thresholds[best]), float(counts.f1()[0, best])
    accepted, hits = int(counts.accepted[0, best]), int(counts.hits[0, best])
    return ClassThreshold(
        _interval(threshold, np.concatenate(chosen)),
        _interval(value, np.concatenate(f1)),
        share_interval(hits, accepted),
        share_interval(hits, int(truth.sum())),
        int(truth.sum()),
    )


@dataclass(frozen=True)
class _Counts:
    """Weighted numbers of clips behind each cut.

    Attributes:
        accepted, hits: (draws, cuts) clips up to the cut, and those of the class among them.
        positives: (draws, 1) clips of the class.
    """

    accepted: np.ndarray
    hits: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, truth: np.ndarray, last: np.ndarray) -> _Counts:
        """From (draws, clips) weights and (cuts,) indices of the last accepted clip."""
        hits = (weights * truth).cumsum(1)
        return cls(weights.cumsum(1)[:, last], hits[:, last], hits[:, -1:])

    def f1(self) -> np.ndarray:
        """(draws, cuts); accepted + positives = 2 TP + FP + FN."""
        return 2 * self.hits / np.maximum(self.accepted + self.positives, 1)

    def best(self, precision: float | None) -> np.ndarray:
        """(draws,) the first of the best cuts; -1: none, or a draw without the class."""
        if precision is None:
            values = self.f1()
        else:
            reaches = self.hits >= precision * self.accepted - ROUNDING
            values = np.where(reaches, self.hits, 0)
        return np.where(values.max(1) > 0, values.argmax(1), -1)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    """The 2.5 % and 97.5 % quantiles; the value itself where there is no resample."""
    if not len(resampled):
        return Interval(value, value, value)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high))
