"""Held-out clips that share sound with training clips."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from .clip import Clip

TOLERANCE = 0.001  # seconds: times in manifests are rounded


def overlapping(train: Iterable[Clip], held_out: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Pairs of a training and a held-out clip of the same file whose times overlap.

    Returns:
        For each file with such a pair, the training clip and the first held-out clip that overlap.
    """
    by_file: dict[str, list[Clip]] = defaultdict(list)
    for clip in train:
        by_file[os.path.abspath(clip.path)].append(clip)
    # Of each file: the starts of its training clips, ascending, and for each start the clip that
    # ends last among those up to it.
    sorted_clips: dict[str, tuple[list[float], list[Clip]]] = {}
    pairs: dict[str, tuple[Clip, Clip]] = {}
    for clip in held_out:
        file = os.path.abspath(clip.path)
        if file in pairs or file not in by_file:
            continue
        if file not in sorted_clips:
            ordered = sorted(by_file[file], key=_start)
            last_to_end = accumulate(ordered, lambda *pair: max(pair, key=_end))
            sorted_clips[file] = [_start(one) for one in ordered], list(last_to_end)
        starts, last = sorted_clips[file]
        # Training clips that begin before this clip ends; the one that ends last overlaps if any.
        count = bisect_left(starts, _end(clip) - TOLERANCE)
        if count:
            other = last[count - 1]
            if _end(other) > _start(clip) + TOLERANCE:
                pairs[file] = other, clip
    return list(pairs.values())


def overlap_note(pairs: Sequence[tuple[Clip, Clip]], split: str) -> str:
    """A sentence about the first of these pairs.

    Args:
        split: name of the split that is held out, such as "test".
    """
    train, clip = pairs[0]
    more = f", and so do clips of {len(pairs) - 1} more files" if len(pairs) > 1 else ""
    return (
        f"{clip.path}: {_times(train)} is for training and overlaps {_times(clip)} of split "
        f"{split}{more}. The accuracy on {split} is therefore too high."
    )


def _start(clip: Clip) -> float:
    return clip.start or 0.0


def _end(clip: Clip) -> float:
    return math.inf if clip.end is None else clip.end


def _times(clip: Clip) -> str:
    row = f" (row {clip.row})" if clip.row else ""
    if clip.start is None and clip.end is None:
        return f"the whole file{row}"
    end = "its end" if clip.end is None else f"{clip.end:g} s"
    return f"the part from {_start(clip):g} s to {end}{row}"
