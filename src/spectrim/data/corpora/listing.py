"""What the reader of a corpus returns, and helpers that look for its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .mixtures import Mixture


@dataclass(frozen=True)
class Listing:
    """The clips of a corpus.

    Attributes:
        manifests: clips whose files exist, by the name of their manifest without suffix.
        missing: names that the corpus lists but the folder lacks, in the order of the lists.
        mixtures: sounds to generate, by the name of their manifest.
    """

    manifests: dict[str, list[Clip]]
    missing: list[str] = field(default_factory=list)
    mixtures: dict[str, list[Mixture]] = field(default_factory=dict)


def names_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files in a folder and its subfolders; follows links to folders.

    One walk over the folder replaces a look-up on disk for each of millions of clips.
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
    """Lines of a list that is published with a corpus.

    Raises:
        SpectrimError: the list does not exist or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpectrimError(
            f"{path}: {reason}. Expected the folder of {corpus} with its published lists."
        ) from error
