"""Figures of a grid and differences between them: values, standard errors, and shared draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from ..evaluation.metrics import metric, weighted_metric

DRAWS = 400

Values = tuple[np.ndarray, np.ndarray]  # (clips,) names and values of a repetition
Term = tuple[int, np.ndarray, np.ndarray]  # a sign, (clips, classes) outputs and truth


@dataclass(frozen=True)
class Gap:
    """A figure, or a difference of figures.

    Attributes:
        value: as a share, 0.01 a point.
        error: its standard error over clips.
        draws: (DRAWS,) what it is with the clips drawn anew. A clip of the same name is drawn
            alike for every gap, so that the mean over gaps, draw by draw, scatters as it should,
            whatever clips they share.
    """

    value: float
    error: float
    draws: np.ndarray


def over_clips(parts: Sequence[Values], plain: bool = False) -> Gap:
    """A mean over clips, each clip's values averaged over repetitions first.

    The error of a difference is Bonett and Price's (doi 10.3102/1076998611411915): one clip won
    and one lost are added, and to the draws as well. Without these four clips that changed of
    300, all one way, would pass for a trend, and none that changed for certainty.

    Args:
        plain: a figure, no difference: nothing is added.
    """
    by_name: dict[str, list[float]] = defaultdict(list)
    for names, values in parts:
        for name, value in zip(names.tolist(), values.tolist(), strict=True):
            by_name[str(name)].append(value)
    clips, means = list(by_name), np.array([np.mean(each) for each in by_name.values()])
    if plain:
        counted = means
        error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
    else:
        clips, counted = [*clips, "", " "], np.append(means, (1.0, -1.0))  # no clip's names
        error = counted.std() / len(counted) ** 0.5
    weights = _weights(clips)
    draws = weights @ counted / np.maximum(weights.sum(1), 1)
    return Gap(float(means.mean()), float(error), draws)


def over_runs(parts: Sequence[tuple[np.ndarray, Sequence[Term]]]) -> Gap:
    """Of mAP: a sum of terms, each its sign times a mAP on the same clips; mean over repetitions.

    Args:
        parts: of each repetition, (clips,) names and the terms.
    """
    value, draws = 0.0, np.zeros(DRAWS)
    for names, terms in parts:
        weights = _weights(names.tolist())
        for sign, outputs, truth in terms:
            value += sign * metric("mAP", outputs.astype(float), truth) / len(parts)
            drawn = weighted_metric("mAP", outputs.astype(float), truth, weights)
            draws = draws + sign * drawn / len(parts)
    return Gap(value, float(draws.std(ddof=1)), draws)


def mean_of(gaps: Sequence[Gap]) -> Gap:
    """The mean of gaps, with the clips they share, and how they scatter, in its error.

    Two sources, joined: the clips, by the gaps' draws; and the gaps themselves (tasks, models,
    training runs), by their standard deviation over the root of their number. Clips are in the
    second too, so that it errs to the wide side.
    """
    values = np.array([gap.value for gap in gaps])
    draws = np.mean([gap.draws for gap in gaps], axis=0)
    scatter = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Gap(float(values.mean()), float(np.hypot(draws.std(ddof=1), scatter)), draws)


def _weights(names: Sequence[str]) -> np.ndarray:
    """(DRAWS, clips) how often each draw has each clip."""
    return np.stack([_weight(str(name)) for name in names], 1)


@lru_cache(maxsize=100_000)
def _weight(name: str) -> np.ndarray:
    """(DRAWS,) Poisson counts of mean 1 (doi 10.1016/j.cmpb.2006.04.006), by the name alone."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).poisson(1.0, DRAWS)
