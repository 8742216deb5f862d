"""A clip: one recording, or a part of it, and what is heard in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One recording, or a part of it.

    Attributes:
        path: the sound file.
        labels: what is heard; empty where nobody said.
        split, fold: as the manifest says.
        start, end: seconds in the file, the part that is the clip; None: all of it.
        target_start, target_end: seconds within the clip, where the labelled sound lies.
        row: line of the manifest, for messages; 0 where there is none.
    """

    path: Path
    labels: tuple[str, ...] = ()
    split: str | None = None
    fold: str | None = None
    start: float | None = None
    end: float | None = None
    target_start: float | None = None
    target_end: float | None = None
    row: int = 0

    def end_within(self, seconds: float | None) -> float | None:
        """Where the first `seconds` of the clip end in the file; None: all of the clip."""
        if seconds is None:
            return self.end
        limit = (self.start or 0.0) + seconds
        return limit if self.end is None else min(self.end, limit)


def clip_names(clips: Sequence[Clip]) -> list[str]:
    """A name a clip, none of them twice, and the same wherever the corpus lies.

    File names where these differ; else paths from the deepest folder that holds them all; where
    one file has several clips, with the seconds from and to; a clip that is there twice is counted.
    """
    names = [clip.path.name for clip in clips]
    if len(set(names)) < len(names):
        whole = [os.path.abspath(clip.path) for clip in clips]
        folder = os.path.commonpath([os.path.dirname(path) for path in whole])
        names = [Path(path).relative_to(folder).as_posix() for path in whole]
    if len(set(names)) < len(names):
        names = [f"{name} {c.start}-{c.end}" for name, c in zip(names, clips, strict=True)]
    seen: Counter[str] = Counter()
    for at, name in enumerate(names):
        seen[name] += 1
        names[at] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names
