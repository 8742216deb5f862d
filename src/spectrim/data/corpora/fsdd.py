"""Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def fsdd(folder: Path) -> Listing:
    """By digit and by speaker, from `recordings/DIGIT_SPEAKER_TAKE.wav`.

    Official split: takes 0 to 4 of every digit and speaker are the test clips. The corpus grows
    and has no list, so no clip can be missing.

    Raises:
        SpectrimError: a file name of another form, or no recordings.
    """
    recordings = folder / "recordings" if (folder / "recordings").is_dir() else folder
    digits, speakers = [], []
    for path in sorted(recordings.glob("[!.]*.wav")):
        match = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if not match:
            raise SpectrimError(f"{path}: expected a name such as 7_jackson_32.wav.")
        digit, speaker, take = match.groups()
        split = "test" if int(take) < 5 else "train"
        digits.append(Clip(path, (DIGITS[int(digit)],), split))
        speakers.append(Clip(path, (speaker,), split))
    if not digits:
        raise SpectrimError(
            f"{folder}: no recordings/DIGIT_SPEAKER_TAKE.wav in it. Expected the folder of FSDD."
        )
    return Listing({"fsdd-digit": digits, "fsdd-speaker": speakers})
