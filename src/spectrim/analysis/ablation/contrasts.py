"""Losses without L, without H, and their differences, by block and over all blocks, with errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...metrics.classification import weighted_metric
from ...metrics.jackknife import from_left_out


def contrasts(
    metric: str,
    outputs: Callable[[str | None, int | None], np.ndarray],
    truth: np.ndarray,
    groups: np.ndarray,
    after: Sequence[int],
    random_control: bool = False,
) -> dict[str, Any] | None:
    """Losses of the metric (unpruned minus ablated, 0 to 1) on the clips that keep patches under
    every cut.

    Args:
        metric: its name.
        outputs: from (dropped, after) to (clips, classes); NaN where no patch is left, which
            does not depend on `after`; (None, None) is the unpruned model.
        truth: (clips, classes) bool.
        groups: (clips,) the jackknife group of each clip.
        after: numbers of blocks that process every patch.
        random_control: whether there are outputs for "random-low" and "random-high" too.

    Returns:
        "clips"; "blocks", one for each of `after`; "mean" over them. Each has "loss_low",
        "loss_high" and "high_less_low" as {"value", "error"}, with a random control also
        "loss_random_low", "loss_random_high", "low_less_random" and "high_less_random". The clips
        are the same throughout, so differences are paired. None where no clip is left.
    """
    left = ~np.isnan(outputs("low", after[0])[:, 0]) & ~np.isnan(outputs("high", after[0])[:, 0])
    if not left.any():
        return None
    truth, groups = truth[left], groups[left]
    # Row 0 of the weights is every clip; each further row leaves out one jackknife group.
    names = np.unique(groups)
    without = groups[None] != names[:, None]
    without = without[: len(names) if len(names) > 1 else 0]
    weights = np.concatenate([np.ones((1, len(truth)), int), without.astype(int)])

    def values(dropped: str | None, blocks: int | None) -> np.ndarray:
        return weighted_metric(metric, outputs(dropped, blocks)[left], truth, weights)

    unpruned = values(None, None)

    def losses(dropped: str) -> np.ndarray:
        return np.stack([unpruned - values(dropped, blocks) for blocks in after], 1)

    low, high = losses("low"), losses("high")
    series = {"loss_low": low, "loss_high": high, "high_less_low": high - low}
    if random_control:
        random_low, random_high = losses("random-low"), losses("random-high")
        series |= {
            "loss_random_low": random_low,
            "loss_random_high": random_high,
            "low_less_random": low - random_low,
            "high_less_random": high - random_high,
        }
    by_block = np.stack(list(series.values()), 2)  # (1 + groups, blocks, contrasts)
    with_mean = np.concatenate([by_block, by_block.mean(1, keepdims=True)], 1)
    estimate = from_left_out(with_mean[0], with_mean[1:])

    def row(index: int) -> dict[str, Any]:
        return {key: estimate.plain(index, column) for column, key in enumerate(series)}

    return {
        "clips": len(truth),
        "metric": metric,
        "blocks": [{"after": blocks} | row(index) for index, blocks in enumerate(after)],
        "mean": row(len(after)),
    }
