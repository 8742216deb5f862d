"""A clip: one recording, or a part of it, with its labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audio.channels import MIX, Channel


@dataclass(frozen=True)
class Clip:
    """One recording, or a part of it.

    Attributes:
        path: the sound file.
        labels: names of its classes; empty if unknown.
        split, fold: the columns of the manifest.
        start, end: seconds in the file; None: from its start, to its end.
        target_start, target_end: seconds within the clip between which the labelled sound lies.
        row: line of the manifest, for messages; 0 without a manifest.
        channel: an index from 0, "mix" (the mean of all channels) or "loudest".
        licence: of the recording, such as "CC-BY"; None if unknown.
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
    licence: str | None = None
    channel: Channel = MIX

    def end_within(self, seconds: float | None) -> float | None:
        """The second of the file at which the first `seconds` of the clip end; None: its end."""
        if seconds is None:
            return self.end
        limit = (self.start or 0.0) + seconds
        return limit if self.end is None else min(self.end, limit)


def clip_names(clips: Sequence[Clip]) -> list[str]:
    """A unique name for each clip, which does not depend on where the corpus is stored.

    File names if they differ; otherwise paths from the deepest common folder; with start and end
    if a file has several clips; with a number if a clip occurs several times.
    """
    names = [clip.path.name for clip in clips]
    if len(set(names)) < len(names):
        paths = [os.path.abspath(clip.path) for clip in clips]
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [Path(path).relative_to(folder).as_posix() for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} {c.start}-{c.end}" for name, c in zip(names, clips, strict=True)]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names
