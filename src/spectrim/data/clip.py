"""A clip: one recording, or a part of it, and what is heard in it."""

from __future__ import annotations

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
