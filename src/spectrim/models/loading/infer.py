"""What a foreign file only implies: how its patches lie, its heads, its labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...audio.constants import MELS
from ...common.errors import SpectrimError
from ...pruning.patches import PATCH, PatchGrid
from ..build import default_labels
from ..config import AUDIOSET_CLASSES, stride_pair

HEAD_WIDTH = 64
KNOWN_COUNTS = {
    1212: (10, 1024), 600: (10, 512), 144: (10, 128),
    512: (16, 1024), 256: (16, 512), 64: (16, 128),
}  # fmt: skip
"""Patches to (stride, frames) of the models that people have."""

Labels = Sequence[str] | int


def lie(patches: int, stride: Any, where: str, frames: int | None = None) -> PatchGrid:
    """The stride and length that a number of patches means.

    Args:
        patches: rows of the position embedding, prefix tokens not counted.
        stride: as the caller says, or None: then the count must be a known one.
        frames: as the file's config says, or None.

    Returns:
        A grid of that many patches; its order is not meant. Its length is the config's, the
        known count's, or else the shortest that has as many columns.

    Raises:
        SpectrimError: a count that tells no stride, or does not divide into whole columns.
    """
    known = KNOWN_COUNTS.get(patches)
    if stride is None and known is None:
        counts = ", ".join(f"{count} at {at}" for count, (at, _) in KNOWN_COUNTS.items())
        raise SpectrimError(
            f"{where}: {patches} patches tell no stride (known: {counts}). Give stride= (16, 10 "
            "or (frequency, time))."
        )
    pair = stride_pair(known[0] if stride is None and known else stride)
    rows = (MELS - PATCH) // pair[0] + 1
    if patches % rows:
        raise SpectrimError(
            f"{where}: {patches} patches do not divide into rows of {rows}, which a stride of "
            f"{pair} gives. Give another stride=."
        )
    columns = patches // rows
    candidates = [frames, known[1] if known else None, (columns - 1) * pair[1] + PATCH]
    for length in filter(None, candidates):
        if length >= PATCH and (grid := PatchGrid(length, MELS, pair)).count == patches:
            return grid
    raise SpectrimError(f"{where}: {patches} patches; a model needs at least one column of them.")


def heads_of(width: int, where: str) -> int:
    """Heads of 64 each."""
    if width % HEAD_WIDTH:
        raise SpectrimError(
            f"{where}: a width of {width} does not divide into heads of {HEAD_WIDTH}."
        )
    return width // HEAD_WIDTH


def depth_of(names: Iterable[str], prefix: str) -> int:
    """How many blocks the names "<prefix><number>." count."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return 1 + max((int(m[1]) for name in names if (m := pattern.match(name))), default=-1)


def labels_for(
    wanted: Labels | None, classes: int | None, where: str, known: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names of the classes.

    Args:
        wanted: names or a count, as the caller says; None: the file's.
        classes: of the file's head; None: it has none.
        known: names that the file itself brings.

    Raises:
        SpectrimError: as many names as the head has classes are wanted.
    """
    if isinstance(wanted, str):
        raise SpectrimError(f"labels is the text {wanted!r}; wanted a list of names, or a count.")
    count = wanted if isinstance(wanted, int) else len(wanted) if wanted is not None else None
    if classes is not None and count not in (None, classes):
        raise SpectrimError(
            f"{where}: {count} labels are asked for, and the head has {classes} classes. Give "
            f"{classes} names, or none; a count is for files without a head."
        )
    if wanted is not None and not isinstance(wanted, int):
        return tuple(wanted)
    if known is not None:
        return tuple(known)
    return default_labels(next(n for n in (count, classes, AUDIOSET_CLASSES) if n is not None))
