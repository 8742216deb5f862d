"""Speech Commands, version 2."""

from __future__ import annotations

import warnings
from pathlib import Path

from ...common.errors import SpectrimError, SpectrimNotice
from ..clip import Clip
from .listing import Listing, lines_of

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four",
    "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right",
    "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip


def speechcommands(folder: Path) -> Listing:
    """The 35 words, from `WORD/SPEAKER_nohash_NUMBER.wav`; the label is the word.

    Official splits: names in `validation_list.txt` and `testing_list.txt`; the rest is for
    training. `_background_noise_` is not a class. Names without a file and words without any
    file are missing.

    Raises:
        SpectrimError: a list is missing, or there are no words.
    """
    split_of = {
        name.strip(): split
        for split, file in LISTS.items()
        for name in lines_of(folder / file, "Speech Commands V2")
        if name.strip()
    }
    clips, names, empty = [], set(), []
    for word in WORDS:
        paths = sorted((folder / word).glob("[!.]*.wav"))
        if not paths:
            empty.append(f"{word}/")
        for path in paths:
            name = f"{word}/{path.name}"
            names.add(name)
            clips.append(Clip(path, (word,), split_of.get(name, "train")))
    if not clips:
        raise SpectrimError(
            f"{folder}: no WORD/SPEAKER_nohash_NUMBER.wav in it. Expected the folder of Speech "
            "Commands V2, with bed/, bird/ and 33 more words."
        )
    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in WORDS and not path.name.startswith((".", "_"))
    )
    if others:
        warnings.warn(
            SpectrimNotice(f"{folder}: {', '.join(others)}: not a word of the corpus; ignored."),
            stacklevel=2,
        )
    return Listing({"speechcommands": clips}, empty + [n for n in split_of if n not in names])
