"""Arabic Speech Commands: 40 words by 30 speakers, ten takes each."""

from __future__ import annotations

from pathlib import Path

from .listing import Listing
from .packed import packed


def arabic(folder: Path) -> Listing:
    """`words` by word (unseen speakers are tested) and `words-speaker` by speaker (unseen words).

    The folder holds one sound file per word, the clips of 1 s one after the other, and the tables
    `words.csv` and `speakers.csv` with the columns path, label, split, start, end.

    Raises:
        SpectrimError: a table is missing or has a wrong row.
    """
    names = {"words.csv": "words", "speakers.csv": "words-speaker"}
    return packed(folder, names, "Arabic Speech Commands")
