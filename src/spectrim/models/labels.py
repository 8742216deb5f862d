"""Names of classes: AudioSet's, from a file, or numbered."""

from __future__ import annotations

import csv
import functools
from importlib import resources
from pathlib import Path

from ..common.errors import SpectrimError
from ..common.parse import MAX_LABEL_BYTES, read_lines
from ..common.values import has_type

MAX_CLASSES = 1_000_000  # far above every published model


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
    """Names of classes in a text file, one per line, in the order of the logits.

    Raises:
        SpectrimError: the file cannot be read, is not UTF-8, or is empty.
    """
    names = read_lines(file, "a file of labels", MAX_LABEL_BYTES)
    if not names:
        raise SpectrimError(f"{file} is empty; expected one label per line.")
    return names


def numbered(classes: int) -> tuple[str, ...]:
    """ "class 0", "class 1", ..."""
    is_count = has_type(classes, int) and 1 <= classes <= MAX_CLASSES
    if not is_count:
        raise SpectrimError(f"{classes!r} classes; expected an integer from 1 to {MAX_CLASSES:,}.")
    return tuple(f"class {index}" for index in range(classes))
