"""What an ablation says of H against L: losses by block and over all blocks, with errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...metrics.classification import weighted_metric
from ...metrics.jackknife import Estimate, from_left_out

CONTRASTS = ("loss_low", "loss_high", "high_less_low")
BY_LOT = ("loss_random_low", "loss_random_high", "low_less_random", "high_less_random")


def contrasts(
    name: str,
    outputs: Callable[[str | None, int | None], np.ndarray],
    truth: np.ndarray,
    groups: np.ndarray,
    after: Sequence[int],
    by_lot: bool = False,
) -> dict[str, Any] | None:
    """Losses of the metric (unpruned less ablated, 0 to 1) on the clips that every cut leaves.

    Args:
        name: of the metric.
        outputs: from (dropped, after) to (clips, classes); NaN where no patch was left, which
            does not depend on `after`; (None, None) is the unpruned model.
        truth: (clips, classes) bool.
        groups: (clips,) the jackknife group of each clip.
        after: the blocks.
        by_lot: whether there are outputs for "random-low" and "random-high" too.

    Returns:
        "clips"; "blocks", one for each of `after`; "mean" over them: each of `CONTRASTS`, and of
        `BY_LOT` where that was run, as {"value", "error"}. The clips are the same throughout, so
        that differences are paired. None where no clip is left.
    """
    left = ~np.isnan(outputs("low", after[0])[:, 0]) & ~np.isnan(outputs("high", after[0])[:, 0])
    if not left.any():
        return None
    truth, groups = truth[left], groups[left]
    held = np.unique(groups)
    without = groups[None] != held[:, None]  # (groups, clips): all but one group
    without = without[: len(held) if len(held) > 1 else 0]
    weights = np.concatenate([np.ones((1, len(truth)), int), without.astype(int)])

    def values(dropped: str | None, blocks: int | None) -> np.ndarray:
        return weighted_metric(name, outputs(dropped, blocks)[left], truth, weights)

    base = values(None, None)

    def losses(dropped: str) -> np.ndarray:
        return np.stack([base - values(dropped, blocks) for blocks in after], 1)

    low, high = losses("low"), losses("high")
    series = dict(zip(CONTRASTS, (low, high, high - low), strict=True))
    if by_lot:
        lots = losses("random-low"), losses("random-high")
        series |= zip(BY_LOT, (*lots, low - lots[0], high - lots[1]), strict=True)
    names = list(series)
    each = np.stack(list(series.values()), 2)  # (1 + groups, blocks, contrasts)
    every = np.concatenate([each, each.mean(1, keepdims=True)], 1)
    found = from_left_out(every[0], every[1:])
    return {
        "clips": len(truth),
        "metric": name,
        "blocks": [
            {"after": blocks, **_named(names, found, at)} for at, blocks in enumerate(after)
        ],
        "mean": _named(names, found, len(after)),
    }


def _named(names: Sequence[str], found: Estimate, at: int) -> dict[str, Any]:
    return {key: found.plain(at, place) for place, key in enumerate(names)}
