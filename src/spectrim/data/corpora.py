"""The public corpora, from their published layouts to manifests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..common.errors import SpectrimError, nearest
from .manifest import Clip, write_manifest

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def prepare(corpus: str, folder: Path, out: Path) -> list[Path]:
    """Write the manifests of a corpus that lies in `folder` into `out`; returns their paths.

    Raises:
        SpectrimError: an unknown corpus, or a folder of another layout.
    """
    if corpus not in CORPORA:
        raise SpectrimError(f"no corpus is called {corpus!r}.{nearest(corpus, CORPORA)}")
    if not folder.is_dir():
        raise SpectrimError(f"{folder}: no such folder; wanted the one that holds {corpus}.")
    manifests = CORPORA[corpus](folder)
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise SpectrimError(f"{out} lies in the corpus; manifests go elsewhere: name another.")
    return [write_manifest(out / name, clips) for name, clips in manifests.items()]


def fsdd(folder: Path) -> dict[str, list[Clip]]:
    """Free Spoken Digit Dataset: by digit and by speaker.

    Official split: takes 0 to 4 of every digit and speaker are the test clips.
    """
    recordings = folder / "recordings" if (folder / "recordings").is_dir() else folder
    digits, speakers = [], []
    for path in sorted(recordings.glob("*.wav")):
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
    return {"fsdd-digit.csv": digits, "fsdd-speaker.csv": speakers}


def esc10(folder: Path) -> dict[str, list[Clip]]:
    """ESC-10: one folder a class, "001 - Dog bark"; the file's first digit is its fold."""
    clips = []
    for path in sorted(folder.glob("[0-9][0-9][0-9] - */*.ogg")):
        match = re.match(r"([1-5])-", path.name)
        if not match:
            raise SpectrimError(f"{path}: wanted names such as 1-17367-A.ogg, the fold first.")
        clips.append(Clip(path, (path.parent.name.split(" - ", 1)[1],), fold=match.group(1)))
    if not clips:
        raise SpectrimError(
            f"{folder}: no 'NNN - Class name/FOLD-SOURCE-TAKE.ogg' in it; wanted ESC-10's folder."
        )
    return {"esc10.csv": clips}


CORPORA: dict[str, Callable[[Path], dict[str, list[Clip]]]] = {"fsdd": fsdd, "esc10": esc10}
