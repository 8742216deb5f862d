"""Arabic Speech Commands: 40 words by 30 speakers, ten takes each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from ..clip import Clip
from .listing import Listing
from .packed import packed, packed_rows

CORPUS = "Arabic Speech Commands"
TAKES = 5  # in a joined clip


def arabic(folder: Path) -> Listing:
    """`words` by word (unseen speakers are tested) and `words-speaker` by speaker (unseen words).

    `words-joined` has clips of 5 s for models with longer windows. Each joins five takes of a
    word by one speaker. The folder has one sound file per word, with its clips of 1 s
    in sequence, and the tables `words.csv` and `speakers.csv` with the columns path, label, split,
    start, end.

    Raises:
        SpectrimError: a table is missing or has a wrong row.
    """
    listing = packed(folder, {"words.csv": "words", "speakers.csv": "words-speaker"}, CORPUS)
    rows = packed_rows(folder / "words.csv", CORPUS)
    clips = joined((clip, row) for clip, row in rows if clip.path.is_file())
    return replace(listing, manifests=listing.manifests | {"words-joined": clips})


def joined(rows: Iterable[tuple[Clip, Mapping[str, str]]]) -> list[Clip]:
    """Join takes to clips of `TAKES` takes without a gap; the remaining takes are omitted.

    Args:
        rows: clips in the order of their file, each with its row, which names the speaker.
    """
    clips = []
    for _, takes in groupby(rows, _recording):
        run: list[Clip] = []
        for take, _ in takes:
            if run and run[-1].end != take.start:  # a take is missing
                run = []
            run.append(take)
            if len(run) == TAKES:
                clips.append(replace(run[0], end=take.end))
                run = []
    return clips


def _recording(pair: tuple[Clip, Mapping[str, str]]) -> tuple[object, ...]:
    """The values that all takes of a joined clip share."""
    clip, row = pair
    return clip.path, clip.labels, clip.split, row.get("speaker")
