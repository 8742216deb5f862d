"""Per-clip outputs of a cell: how they are stored, and what a report needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

PROBABILITY_TYPE = np.float16
PROBABILITY_STEPS = 256  # coarse: files stay small, and the report uses only classes and ranks
CLASS_TYPE = np.int16


@dataclass(frozen=True)
class ClipOutputs:
    """A model's outputs for the clips of a split.

    Attributes:
        top: (clips,) class with the largest output.
        is_right: (clips,) 1.0 where the top class is a label of the clip, else 0.0.
        logits: (clips, classes) where the metric is mAP; None for accuracy.
    """

    top: np.ndarray
    is_right: np.ndarray
    logits: np.ndarray | None = None

    def reordered(self, order: list[int]) -> ClipOutputs:
        """The outputs of the clips with these indices."""
        logits = None if self.logits is None else self.logits[order]
        return replace(self, top=self.top[order], is_right=self.is_right[order], logits=logits)


def stored_outputs(
    checkpoint: str, metric: str, logits: np.ndarray, probabilities: np.ndarray, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of a cell's file for one checkpoint.

    For accuracy, three numbers for each clip: `CHECKPOINT_top` is the class with the largest
    output, `CHECKPOINT_probability` its probability, rounded to 1/256, and `CHECKPOINT_rank` the
    number of classes with a larger output than the clip's label (0: the top class is correct). For
    mAP, which needs all outputs, `CHECKPOINT` has the logits in float16.

    Args:
        checkpoint: "last" or "best".
        logits, probabilities: (..., clips, classes).
        truth: (clips, classes) bool.
    """
    if metric != "accuracy":
        return {checkpoint: logits.astype(np.float16)}
    order = np.argsort(-logits, axis=-1, kind="stable")
    is_label_at_rank = np.take_along_axis(np.broadcast_to(truth, logits.shape), order, axis=-1)
    top = order[..., 0]
    probability = np.take_along_axis(probabilities, top[..., None], axis=-1)[..., 0]
    rounded = np.round(probability * PROBABILITY_STEPS) / PROBABILITY_STEPS
    return {
        f"{checkpoint}_top": top.astype(CLASS_TYPE),
        f"{checkpoint}_probability": rounded.astype(PROBABILITY_TYPE),
        f"{checkpoint}_rank": is_label_at_rank.argmax(-1).astype(CLASS_TYPE),
    }


def read_outputs(
    arrays: Mapping[str, np.ndarray], checkpoint: str, metric: str, row: int | None = None
) -> ClipOutputs | None:
    """Outputs of one checkpoint, from a file of `stored_outputs` or of earlier versions.

    Earlier versions stored the logits of all classes for accuracy, too.

    Args:
        arrays: the content of a cell's file.
        row: index of the plan, in cells that are evaluated with several plans.

    Returns:
        None if the file has no outputs of this checkpoint.
    """

    def in_row(name: str) -> np.ndarray:
        return arrays[name] if row is None else arrays[name][row]

    if f"{checkpoint}_rank" in arrays:
        is_right = (in_row(f"{checkpoint}_rank") == 0).astype(float)
        return ClipOutputs(in_row(f"{checkpoint}_top"), is_right)
    if checkpoint not in arrays:
        return None
    logits = in_row(checkpoint)
    top = logits.argmax(-1)
    is_right = arrays["truth"][np.arange(len(top)), top].astype(float)
    return ClipOutputs(top, is_right, None if metric == "accuracy" else logits)
