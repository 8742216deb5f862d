"""What a reader of a corpus hands over, and how it looks for files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .mixtures import Mixture


@dataclass(frozen=True)
class Found:
    """What a corpus holds.

    Attributes:
        manifests: clips that are there, by the manifest's name without a suffix.
        missing: what the corpus lists and the folder lacks, in order of the lists.
        mixtures: sounds to be made beside the manifests, by their manifest's name.
    """

    manifests: dict[str, list[Clip]]
    missing: list[str] = field(default_factory=list)
    mixtures: dict[str, list[Mixture]] = field(default_factory=dict)


def names_below(folder: Path) -> Iterator[str]:
    """Files in a folder and below it, relative and with slashes; links to folders are followed.

    One walk, so that a list of millions of clips costs no look-up on the disk each.
    """
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        base = Path(root).relative_to(folder).as_posix()
        for file in sorted(files):
            if not file.startswith("."):
                yield file if base == "." else f"{base}/{file}"


def lines_of(path: Path, corpus: str) -> list[str]:
    """Lines of one of a corpus's own lists.

    Raises:
        SpectrimError: the list is not there, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise SpectrimError(
            f"{path}: {reason}; wanted {corpus}'s folder, with the lists it is published with."
        ) from error
