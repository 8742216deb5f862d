"""Metrics of a grid and their differences: values, standard errors and shared bootstrap draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from math import inf

import numpy as np
from scipy.special import stdtrit

from .classification import metric, weighted_metric
from .intervals import bonett_price

DRAWS = 400

Values = tuple[np.ndarray, np.ndarray]  # (clips,) names and values of a repetition
Term = tuple[int, np.ndarray, np.ndarray]  # a sign, (clips, classes) outputs and truth


@dataclass(frozen=True)
class Gap:
    """A metric, or a difference of two metrics.

    Attributes:
        value: as a fraction; one point is 0.01.
        error: standard error over clips; for a difference of several repetitions also over
            repetitions, see `over_clips`.
        draws: (DRAWS,) values on bootstrap draws of the clips. A draw has the same weight for a
            clip name in every gap. So the mean over gaps, draw by draw, has the correct spread if
            the gaps share clips.
        trainings: number of repetitions that are averaged; None if unknown.
        freedom: degrees of freedom of `error`: few if it comes from the spread of few repetitions.
    """

    value: float
    error: float
    draws: np.ndarray
    trainings: int | None = None
    freedom: float = inf


def figure_over_clips(runs: Sequence[Values]) -> Gap:
    """A mean over clips for given trainings; each clip's values are averaged over repetitions.

    Its error counts two additional correct and two additional wrong clips (Agresti and Coull, doi
    10.1080/00031305.1998.10480550). Without them, the error of an accuracy of 100 % would be 0.
    """
    clips, means = _mean_by_clip(runs)
    wider = np.append(means, (1.0, 1.0, 0.0, 0.0))
    return Gap(float(means.mean()), float(wider.std() / len(wider) ** 0.5), _draws(clips, means))


def over_clips(runs: Sequence[Values]) -> Gap:
    """A difference of means over clips; each clip's values are averaged over repetitions.

    Its error over clips comes from `bonett_price`; the draws include the same two added clips.
    Another training run would give another difference, so the error also includes the spread of
    the repetitions, see `_joined`.
    """
    clips, means = _mean_by_clip(runs)
    # The names of the added clips are unique to this difference, so their draws are independent.
    key = blake2b("\0".join(clips).encode() + means.tobytes(), digest_size=8).hexdigest()
    draws = _draws([*clips, f"\0+{key}", f"\0-{key}"], np.append(means, (1.0, -1.0)))
    values = [float(values.mean()) for _, values in runs]
    error, freedom = _joined(bonett_price(means)[1], runs, values)
    return Gap(float(means.mean()), error, draws, freedom=freedom)


def _mean_by_clip(runs: Sequence[Values]) -> tuple[list[str], np.ndarray]:
    """Names of all clips, and the mean of each one's values over the runs."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for names, values in runs:
        for name, value in zip(names.tolist(), values.tolist(), strict=True):
            by_name[str(name)].append(value)
    return list(by_name), np.array([np.mean(values) for values in by_name.values()])


def _draws(clips: Sequence[str], values: np.ndarray) -> np.ndarray:
    """(DRAWS,) weighted means of (clips,) values."""
    weights = _weights(clips)
    return weights @ values / np.maximum(weights.sum(1), 1)


def figure_over_runs(runs: Sequence[tuple[np.ndarray, Sequence[Term]]]) -> Gap:
    """A mAP for given trainings, see `over_runs`; its error is over clips only."""
    values, draws = _maps_of(runs)
    return Gap(float(np.mean(values)), float(draws.std(ddof=1)), draws)


def over_runs(runs: Sequence[tuple[np.ndarray, Sequence[Term]]]) -> Gap:
    """A difference of mAPs: a sum of terms, each a sign times a mAP, averaged over repetitions.

    Args:
        runs: for each repetition, (clips,) names and the terms on these clips.
    """
    values, draws = _maps_of(runs)
    error, freedom = _joined(float(draws.std(ddof=1)), runs, values)
    return Gap(float(np.mean(values)), error, draws, freedom=freedom)


def _maps_of(runs: Sequence[tuple[np.ndarray, Sequence[Term]]]) -> tuple[list[float], np.ndarray]:
    """The value of each run, and (DRAWS,) their mean for each draw of the clips."""
    values, draws = [0.0] * len(runs), np.zeros(DRAWS)
    for index, (names, terms) in enumerate(runs):
        for sign, outputs, truth in terms:
            value, drawn = _map_of(names, outputs, truth)
            values[index] += sign * value
            draws = draws + sign * drawn / len(runs)
    return values, draws


def _joined(
    error: float, runs: Sequence[tuple[np.ndarray, object]], values: Sequence[float]
) -> tuple[float, float]:
    """Combine the error over clips with the spread of the `values` of the repetitions.

    On the same clips the two sources are independent, so their squares are added. If no two
    repetitions share a clip, as in cross-validation, the spread already contains the error over
    clips, so the larger of the two is returned.

    Returns:
        The error, and its degrees of freedom; for a sum, see `_degrees_of_freedom`.
    """
    names = [name for clips, _ in runs for name in clips.tolist()]
    scatter = _scatter(values, [str(index) for index in range(len(runs))])
    share_clips = len(set(names)) < len(names)
    if scatter == 0 or not (share_clips or scatter > error):
        return error, inf
    freedom = len(runs) - 1
    if not share_clips:
        return scatter, freedom
    return float(np.hypot(error, scatter)), _degrees_of_freedom(error, scatter, freedom)


def _scatter(values: Sequence[float] | np.ndarray, groups: Sequence[str]) -> float:
    """Standard error of a mean of values from the spread of their groups, widened by `_wider`.

    If each value is its own group: the standard deviation divided by the square root of their
    number. For a single group: 0, because its spread is unknown.
    """
    sums: dict[str, float] = defaultdict(float)
    for group, value in zip(groups, values, strict=True):
        sums[group] += value - float(np.mean(values))
    few = len(sums)
    if few < 2:
        return 0.0
    squares = sum(total**2 for total in sums.values())
    return _wider(few - 1) * float(few / (few - 1) * squares) ** 0.5 / len(values)


def _wider(freedom: int) -> float:
    """Factor by which an error estimated from few values is widened.

    Two widened errors are the half-width of Student's 95 % interval. The factor is 2.15 for three
    values and 1.2 for eight.
    """
    return float(stdtrit(freedom, 0.975)) / 2


def _degrees_of_freedom(clip_error: float, scatter: float, scatter_freedom: int) -> float:
    """Degrees of freedom of the sum of two variances (Satterthwaite, doi 10.2307/3002019).

    Args:
        clip_error: standard error over clips, treated as exact.
        scatter: result of `_scatter`, which is widened for few values.
        scatter_freedom: number of values (or groups) of the scatter, minus 1.

    Returns:
        inf if the scatter is 0.
    """
    if scatter == 0:
        return inf
    spread = scatter / _wider(scatter_freedom)  # the formula is for the error before widening
    return float(scatter_freedom * ((clip_error**2 + spread**2) / spread**2) ** 2)


def mean_of(gaps: Sequence[Gap], groups: Sequence[str] | None = None) -> Gap:
    """The mean of gaps. Its error includes shared clips and the spread of the gaps.

    The error combines two sources: the clips, from the draws of the gaps, and the gaps themselves
    (tasks, models, training runs), from their spread. The spread also contains some of the error
    over clips, so the result is conservative.

    Args:
        groups: the group of each gap, such as its column. Gaps of one group share training runs
            (their control, their baseline), so the spread is computed between groups: the
            cluster-robust error of a mean (Liang and Zeger, doi 10.1093/biomet/73.1.13), with
            k / (k - 1) for k groups. None, or one group: each gap is its own group. The error is
            widened for few groups, see `_wider`. `Gap.freedom` has the degrees of freedom.
    """
    values = np.array([gap.value for gap in gaps])
    draws = np.mean([gap.draws for gap in gaps], axis=0)
    if groups is None or len(set(groups)) == 1:
        groups = [str(index) for index in range(len(gaps))]
    clip_error, scatter = float(draws.std(ddof=1)), _scatter(values, groups)
    freedom = _degrees_of_freedom(clip_error, scatter, len(set(groups)) - 1)
    return Gap(float(values.mean()), float(np.hypot(clip_error, scatter)), draws, freedom=freedom)


def _map_of(names: np.ndarray, outputs: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """mAP, and (DRAWS,) mAP of each draw; cached, because many gaps use the same outputs."""
    fields = "\0".join(map(str, names.tolist())).encode(), outputs.tobytes(), truth.tobytes()
    key = blake2b(b"".join(fields), digest_size=16).digest()
    if key not in _maps:
        values = outputs.astype(float)
        weights, wider = _weights_of_mixtures(names.tolist())
        drawn = weighted_metric("mAP", values, truth, weights)
        _maps[key] = metric("mAP", values, truth), drawn.mean() + wider * (drawn - drawn.mean())
    return _maps[key]


_maps: dict[bytes, tuple[float, np.ndarray]] = {}


def _weights_of_mixtures(names: Sequence[str]) -> tuple[np.ndarray, float]:
    """(DRAWS, clips) weights, and the factor by which deviations of their draws are too small.

    Mixtures that share a clip are not independent. The weight of "a+b.flac" is the sum of the
    counts of `a` and `b`. Relative to its mean it has half the variance of an independent draw, and
    the covariance of two mixtures that share one clip is a quarter. Doubling the deviation gives
    the full covariance, as required for dyads (Fafchamps and Gubert, doi
    10.1016/j.jdeveco.2006.05.005). It also doubles each mixture's own variance, so the error is
    conservative.
    """
    pairs = [name.rpartition(".")[0].split("+") for name in names]
    if not all(len(pair) == 2 for pair in pairs):
        return _weights(names), 1.0
    return _weights([one for one, _ in pairs]) + _weights([other for _, other in pairs]), 2.0


def _weights(names: Sequence[str]) -> np.ndarray:
    """(DRAWS, clips) count of each clip in each draw."""
    return np.stack([_weight(str(name)) for name in names], 1)


@lru_cache(maxsize=100_000)
def _weight(name: str) -> np.ndarray:
    """(DRAWS,) Poisson counts of mean 1 (doi 10.1016/j.cmpb.2006.04.006), from the name only."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).poisson(1.0, DRAWS)
