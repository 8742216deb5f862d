"""LibriSpeech as speaker identification with many classes and little audio for each."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...audio.decode import duration_of
from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing, names_below

SECONDS = 3.0  # of a window
HOP = 1.0  # seconds from one training window to the next
NAME = re.compile(r"(\d+)-\d+-\d+\.(flac|ogg|wav)")


def librispeech(folder: Path) -> Listing:
    """Windows of 3 s of one utterance of each speaker; the label is "speaker 103".

    The last 3 s of an utterance are the test clip and the 3 s before them the validation clip.
    The rest gives training windows, one every second. So test and training share a recording,
    which is easier than VoxCeleb.

    Sound files are named SPEAKER-CHAPTER-UTTERANCE.flac (or .ogg, .wav), in any subfolder. The
    first utterance of a speaker that is long enough (9 s) is used.

    Raises:
        SpectrimError: there is no such utterance.
    """
    clips: list[Clip] = []
    used: set[str] = set()
    for name in sorted(names_below(folder)):
        match = NAME.fullmatch(PurePosixPath(name).name)
        if match is None or match[1] in used:
            continue
        windows = _windows(folder / name, f"speaker {match[1]}")
        if windows:
            used.add(match[1])
            clips += windows
    if not clips:
        raise SpectrimError(
            f"{folder}: no utterance of at least {3 * SECONDS:g} s with a name such as "
            "103-1240-0000.flac in it or below. Expected a folder of LibriSpeech."
        )
    return Listing({"librispeech-speaker": clips})


def _windows(path: Path, label: str) -> list[Clip]:
    """Test, validation and training windows of an utterance; none if it is too short."""
    duration = duration_of(path) or 0.0
    begin_valid = round(duration - 2 * SECONDS, 3)
    begin_test = round(duration - SECONDS, 3)
    if begin_valid < SECONDS:
        return []
    windows = [("test", begin_test), ("valid", begin_valid)]
    start = 0.0
    while start + SECONDS <= begin_valid:
        windows.append(("train", start))
        start += HOP
    return [
        Clip(path, (label,), split, start=begin, end=round(begin + SECONDS, 3))
        for split, begin in windows
    ]
