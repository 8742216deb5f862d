"""Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Found

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def fsdd(folder: Path) -> Found:
    """By digit and by speaker, from `recordings/DIGIT_SPEAKER_TAKE.wav`.

    Official split: takes 0 to 4 of every digit and speaker are the test clips. The corpus comes
    without a list (it grows), so that nothing can be missing from it.

    Raises:
        SpectrimError: a name of another form, or no recording at all.
    """
    recordings = folder / "recordings" if (folder / "recordings").is_dir() else folder
    digits, speakers = [], []
    for path in sorted(recordings.glob("[!.]*.wav")):
        match = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if not match:
            raise SpectrimError(f"{path}: wanted names such as 7_jackson_32.wav.")
        digit, speaker, take = match.groups()
        split = "test" if int(take) < 5 else "train"
        digits.append(Clip(path, (DIGITS[int(digit)],), split))
        speakers.append(Clip(path, (speaker,), split))
    if not digits:
        raise SpectrimError(
            f"{folder}: no recordings/DIGIT_SPEAKER_TAKE.wav in it; wanted FSDD's folder."
        )
    return Found({"fsdd-digit": digits, "fsdd-speaker": speakers})
