"""Rows of an ablation: the metric under each cut, compared with the unpruned model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ...evaluation.agreement import agreement
from ...metrics.classification import (
    indicator,
    metric,
    paired_difference,
    resampled_map,
    standard_error,
)
from ...models.transformer import SpectrogramTransformer
from .outputs import Cut

Row = dict[str, Any]


def top_classes(outputs: np.ndarray) -> np.ndarray:
    """(clips, classes) bool, True for the top class of each clip."""
    return indicator(outputs.argmax(1)[:, None].tolist(), outputs.shape[1])


def row_of_cut(
    model: SpectrogramTransformer,
    cut: Cut,
    base: np.ndarray,
    outputs: np.ndarray,
    truth: np.ndarray | None,
    resampled: np.ndarray | None,
) -> Row:
    """The measured columns of a cut.

    Args:
        base, outputs: (clips, classes) of the unpruned model and of the cut; NaN where a cut
            leaves no patch.
        truth: (clips, classes) bool; None: agreement with the unpruned model is measured.
        resampled: bootstrap values of the unpruned model's mAP; None for accuracy.
    """
    left = ~np.isnan(outputs[:, 0])
    row: Row = {
        "dropped": cut.dropped,
        "after_blocks": cut.after,
        "metric": "agreement" if truth is None else model.config.metric,
        "value": None,
        "error": None,
        "unpruned": None,
        "difference": None,
        "clips": int(left.sum()),
        "no_patch_left": int((~left).sum()),
        "agreement": None,
    }
    if not left.any():
        return row
    outputs, base = outputs[left], base[left]
    row["agreement"] = agreement(outputs, base, model.config.labels)["top1"]
    if truth is None:
        error = standard_error("accuracy", outputs, top_classes(base))
        return row | {"value": row["agreement"]["value"], "unpruned": 1.0, "error": error}
    name, truth = model.config.metric, truth[left]
    row["value"], row["unpruned"] = metric(name, outputs, truth), metric(name, base, truth)
    pair = None
    if resampled is not None:
        of_base = resampled if left.all() else resampled_map(base, truth)
        pair = (of_base if cut.dropped is None else resampled_map(outputs, truth), of_base)
    row["difference"] = asdict(paired_difference(name, outputs, base, truth, pair))
    row["error"] = standard_error(name, outputs, truth, None if pair is None else pair[0])
    return row
