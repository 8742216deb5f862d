"""The classes of a task: as a recipe names them, or as the clips do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..data.splits import Splits
from ..models.labels import audioset, audioset_labels, labels_in


def classes_of(wanted: Any, parts: Sequence[Splits]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the classes in the order of the logits, and other names of theirs.

    Args:
        wanted: what the recipe says: names, "audioset", a file of names; None: all labels of
            the training clips, sorted.

    Raises:
        SpectrimError: no such file, a name twice, or what is no name.
    """
    if wanted == "audioset":
        return audioset_labels(), dict(audioset())
    if isinstance(wanted, str):
        wanted = labels_in(Path(wanted)) if _is_file(wanted) else []
    if wanted is not None:
        if wrong := [label for label in wanted if isinstance(label, bool) or label is None]:
            raise SpectrimError(
                f"data.labels holds {wrong[0]!r}: YAML reads yes, no, on, off and null so. Put "
                "such a name in quotes."
            )
        labels = tuple(str(label) for label in wanted)
        if len(set(labels)) != len(labels):
            raise SpectrimError("data.labels names a class twice.")
        return labels, {}
    return tuple(sorted({label for part in parts for label in part.train.labels()})), {}


def _is_file(name: str) -> bool:
    if not Path(name).is_file():
        raise SpectrimError(
            f"data.labels is {name!r}; wanted a list of names, 'audioset', or a file of one name "
            "a line."
        )
    return True
