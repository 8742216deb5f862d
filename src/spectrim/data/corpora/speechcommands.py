"""Speech Commands, version 2."""

from __future__ import annotations

import warnings
from pathlib import Path

from ...common.errors import SpectrimError, SpectrimNotice
from ..clip import Clip
from .listing import Found, lines_of

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four",
    "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right",
    "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip


def speechcommands(folder: Path) -> Found:
    """The 35 words, from `WORD/SPEAKER_nohash_NUMBER.wav`; the label is the word.

    Official splits: names in `validation_list.txt` and `testing_list.txt`; the rest is for
    training. `_background_noise_` is no class. Missing are listed names without a file, and
    words without any file.

    Raises:
        SpectrimError: a list is absent, or there is no word at all.
    """
    split_of = {
        name.strip(): split
        for split, file in LISTS.items()
        for name in lines_of(folder / file, "Speech Commands V2")
        if name.strip()
    }
    clips, there, empty = [], set(), []
    for word in WORDS:
        paths = sorted((folder / word).glob("[!.]*.wav"))
        if not paths:
            empty.append(f"{word}/")
        for path in paths:
            name = f"{word}/{path.name}"
            there.add(name)
            clips.append(Clip(path, (word,), split_of.get(name, "train")))
    if not clips:
        raise SpectrimError(
            f"{folder}: no WORD/SPEAKER_nohash_NUMBER.wav in it; wanted Speech Commands V2's "
            "folder, with bed/, bird/ and 33 more."
        )
    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in WORDS and not path.name.startswith((".", "_"))
    )
    if others:
        warnings.warn(
            SpectrimNotice(f"{folder}: {', '.join(others)}: no word of Speech Commands V2; left."),
            stacklevel=2,
        )
    return Found({"speechcommands": clips}, empty + [n for n in split_of if n not in there])
