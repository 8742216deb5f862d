"""Clips whose cut is a tie within rounding: two runtimes may rightly keep different patches."""

from __future__ import annotations

import torch
from torch import Tensor

TIE = 1e-5  # of the last score that stays, relative


def ties(model, features: Tensor, valid: Tensor) -> Tensor:
    """(batch,) bool: in some stage the scores on both sides of the cut are nearly equal.

    Two patches of padding (minus infinity) are exactly equal everywhere, and no such tie.
    """
    tied = torch.zeros(len(features), dtype=torch.bool)

    def watch(tokens, context, stage, left):
        if context.scores is None or left.count == tokens.count:
            return
        ordered = context.scores.sort(1, descending=True).values
        last, first_out = ordered[:, left.count - 1], ordered[:, left.count]
        near = last - first_out <= TIE * last.abs()
        tied.logical_or_(near & last.isfinite())

    with torch.inference_mode():
        model.encode(features, valid, watch=watch)
    return tied
