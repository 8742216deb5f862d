"""Names of classes: AudioSet's, from a file, or numbered."""

from __future__ import annotations

import csv
import functools
from importlib import resources
from pathlib import Path

from ..common.errors import SpectrimError


@functools.cache
def audioset() -> tuple[tuple[str, str], ...]:
    """AudioSet's 527 (machine id, display name), such as ("/m/09x0r", "Speech")."""
    file = resources.files("spectrim.assets") / "audioset_labels.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple((row["mid"], row["display_name"]) for row in rows)


def audioset_labels() -> tuple[str, ...]:
    """AudioSet's 527 display names, in the order of the logits."""
    return tuple(name for _, name in audioset())


def labels_in(file: Path) -> list[str]:
    """Names of classes in a text file, one per line, in the order of the logits."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def numbered(classes: int) -> tuple[str, ...]:
    """ "class 0", "class 1", ..."""
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise SpectrimError(f"{classes!r} classes; expected an integer of at least 1.")
    return tuple(f"class {index}" for index in range(classes))
