"""What an ablation says of H against L: losses by block and over all blocks, with errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..evaluation.metrics import weighted_metric
from .jackknife import Estimate, from_left_out

CONTRASTS = ("loss_low", "loss_high", "high_less_low")


def contrasts(
    name: str,
    outputs: Callable[[str | None, int | None], np.ndarray],
    truth: np.ndarray,
    groups: np.ndarray,
    after: Sequence[int],
) -> dict[str, Any] | None:
    """Losses of the metric (unpruned less ablated, 0 to 1) on the clips that every cut leaves.

    Args:
        name: of the metric.
        outputs: from (dropped, after) to (clips, classes); NaN where no patch was left, which
            does not depend on `after`; (None, None) is the unpruned model.
        truth: (clips, classes) bool.
        groups: (clips,) the jackknife group of each clip.
        after: the blocks.

    Returns:
        "clips"; "blocks", one for each of `after`; "mean" over them: each of `CONTRASTS` as
        {"value", "error"}. The clips are the same throughout, so that differences are paired.
        None where no clip is left.
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
    low = np.stack([base - values("low", blocks) for blocks in after], 1)
    high = np.stack([base - values("high", blocks) for blocks in after], 1)
    each = np.stack([low, high, high - low], 2)  # (1 + groups, blocks, contrasts)
    every = np.concatenate([each, each.mean(1, keepdims=True)], 1)
    found = from_left_out(every[0], every[1:])
    return {
        "clips": len(truth),
        "metric": name,
        "blocks": [{"after": blocks, **_named(found, at)} for at, blocks in enumerate(after)],
        "mean": _named(found, len(after)),
    }


def _named(found: Estimate, at: int) -> dict[str, Any]:
    return {key: found.plain(at, place) for place, key in enumerate(CONTRASTS)}
