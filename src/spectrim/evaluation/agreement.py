"""How a pruned model's outputs differ from the unpruned model's; needs no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..metrics.intervals import Interval, mean_interval, share_interval

TOP = 5


def agreement(probabilities: np.ndarray, base: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Compare (clips, classes) probabilities with those of the unpruned model.

    Returns a dictionary of:
        top1: fraction of clips with the same top class (Wilson interval).
        top5: mean fraction of the unpruned model's top five classes that stay in the top five;
            None for five classes or fewer.
        change: mean over clips of the largest change of any class's probability.
        largest_change: the largest of all; largest_change_label: its class.
        classes: the classes whose probability changes most on average.
    All except the last two are {"value", "low", "high"} with a 95 % interval.
    """
    clips, classes = probabilities.shape
    same = int((probabilities.argmax(1) == base.argmax(1)).sum())
    change = np.abs(probabilities - base)
    per_class = change.mean(0)
    order = np.argsort(-per_class, kind="stable")[:TOP]
    return {
        "clips": clips,
        "top1": asdict(share_interval(same, clips)),
        "top5": asdict(_top(probabilities, base)) if classes > TOP else None,
        "change": asdict(mean_interval(change.max(1))),
        "largest_change": float(change.max()),
        "largest_change_label": labels[int(change.max(0).argmax())],
        "classes": [
            {"label": labels[index], **asdict(mean_interval(change[:, index]))} for index in order
        ],
    }


def _top(probabilities: np.ndarray, base: np.ndarray) -> Interval:
    ours = np.argpartition(-probabilities, TOP, axis=1)[:, :TOP]
    theirs = np.argpartition(-base, TOP, axis=1)[:, :TOP]
    shares = (ours[:, :, None] == theirs[:, None, :]).any(2).mean(1)
    return mean_interval(shares)
