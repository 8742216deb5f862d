"""The order of patches by score, the same in every backend."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .tokens import Tokens


def ranked(tokens: Tokens, scores: Tensor, count: int | None = None) -> Tensor:
    """(batch, patches) positions by score, highest first, ties by lower patch index.

    NaN ranks first. Absent tokens come last.

    Args:
        count: return only the first `count` positions; None: all.
    """
    count = tokens.count if count is None else count
    index = tokens.origin
    if tokens.present is not None:
        scores = torch.where(tokens.present, scores, -math.inf)
        index = torch.where(tokens.present, index, index + ABSENT)
    # A bit cast has no counterpart in exported graphs, and float64 does not fit into a key.
    if torch.compiler.is_exporting() or scores.dtype not in KEYED:
        # Two stable sorts: by patch index, then by score.
        by_index = index.argsort(1)
        by_score = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
        return by_index.gather(1, by_score)[:, :count]
    # Keys are all different, so top-k has no ties to order in its own way. It also spares a
    # compiled model the sort that inductor generates, which compiles for minutes on a GPU.
    return sort_keys(scores, index).topk(count, dim=1).indices


ABSENT = 2**30  # added to the index of absent tokens; larger than any patch index
KEYED = (torch.float32, torch.bfloat16, torch.float16)


def sort_keys(scores: Tensor, index: Tensor) -> Tensor:
    """(batch, patches) int64 keys, ordered as the scores, ties by lower index.

    The bits of a float32 without its sign grow with its magnitude. So they order positive numbers
    as they are, and negative ones after all bits but the sign are flipped: as int32,
        1.0 = 0x3F800000,  0.0 = 0,  -1.0 = 0xBF800000 -> 0xC07FFFFF,  -2.0 -> 0xBFFFFFFF.
    They become the upper half of the key. The index is then subtracted from the lower half.
    """
    # NaNs of either sign become the same one, which lies above infinity. -0.0 + 0.0 is 0.0.
    same_nan = scores.float().nan_to_num(nan=math.nan, posinf=math.inf, neginf=-math.inf) + 0.0
    bits = same_nan.contiguous().view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # bits >> 31 is -1 for negative numbers, else 0
    return ordered.long() * 2**32 - index
