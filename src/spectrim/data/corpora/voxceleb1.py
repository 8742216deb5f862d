"""VoxCeleb-1, identification of speakers."""

from __future__ import annotations

import re
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing, lines_of, names_below

LIST = "iden_split.txt"
SPLITS = {"1": "train", "2": "valid", "3": "test"}
SUBFOLDERS = ("wav/", "dev/wav/", "test/wav/", "")


def voxceleb1(folder: Path) -> Listing:
    """Clips of `iden_split.txt`; the label is the speaker, such as id10001.

    A line is "1 id10001/1zcIwhmdeo4/00001.wav": 1 train, 2 dev (here "valid"), 3 test. Sound
    files are in `wav/`, in `dev/wav/` and `test/wav/` (as the archives unpack), or in the folder
    itself. There are 1251 speakers; sorted, they are in the order of the paper's classes.

    Raises:
        SpectrimError: the list is missing, is empty, or has a wrong line.
    """
    path = folder / LIST
    lines = lines_of(path, "VoxCeleb-1")
    names = set(names_below(folder))
    clips, missing = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([123])\s+((id\d+)/\S+\.wav)", line.strip())
        if not match:
            raise SpectrimError(
                f"{path}, line {number}: {line.strip()!r}. Expected a line such as "
                "'1 id10001/1zcIwhmdeo4/00001.wav'."
            )
        split, name, speaker = match.groups()
        subfolder = next((subfolder for subfolder in SUBFOLDERS if subfolder + name in names), None)
        if subfolder is None:
            missing.append(name)
        else:
            clips.append(Clip(folder / (subfolder + name), (speaker,), SPLITS[split]))
    if not clips and not missing:
        raise SpectrimError(f"{path}: lists no clip. Expected the list published with VoxCeleb-1.")
    return Listing({"voxceleb1": clips}, missing)
