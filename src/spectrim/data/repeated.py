"""Clips that a manifest lists more than once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..common.text import shortened
from .clip import Clip

SHOWN = 3  # files that a note names


def notes_on_repeated(clips: Sequence[Clip]) -> Iterator[str]:
    """Sentences about clips that are listed more than once; parts of one file are several clips.

    Separate sentences name clips in several splits or folds, clips with different labels, and mere
    repetitions.
    """
    rows: dict[tuple[str, float | None, float | None], list[Clip]] = defaultdict(list)
    for clip in clips:
        # "./a.wav" and "a.wav" are one file.
        rows[os.path.abspath(clip.path), clip.start, clip.end].append(clip)
    repeated = [same for same in rows.values() if len(same) > 1]
    divided = [same for same in repeated if len({(c.split, c.fold) for c in same}) > 1]
    relabelled = [same for same in repeated if len({c.labels for c in same}) > 1]
    special = {id(same) for same in (*divided, *relabelled)}
    mere = [same for same in repeated if id(same) not in special]
    if divided:
        yield (
            f"{_listed(divided)} in more than one split or fold, "
            f"{shortened(sorted({c.split or c.fold or 'none' for c in divided[0]}))}. Results on "
            "held-out clips that are also trained on are too good."
        )
    if relabelled:
        labels = [";".join(clip.labels) for clip in relabelled[0]]
        yield (
            f"{_listed(relabelled)} with different labels, {shortened(dict.fromkeys(labels))}. "
            "Write several labels of a clip in one row, separated by ';'."
        )
    if mere:
        yield f"{_listed(mere)} more than once, and counts as often."


def _listed(repeated: Sequence[Sequence[Clip]]) -> str:
    """Such as "'a.wav' (rows 2, 5) is listed"."""
    names = ", ".join(
        f"{str(same[0].path)!r} (rows {', '.join(str(clip.row) for clip in same)})"
        for same in repeated[:SHOWN]
    )
    more = f" and {len(repeated) - SHOWN} more" if len(repeated) > SHOWN else ""
    return f"{names}{more} {'is' if len(repeated) == 1 else 'are'} listed"
