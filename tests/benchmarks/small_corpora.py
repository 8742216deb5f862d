"""Small corpora in the layouts that the GPU agenda packs, made from the built-in sample pack.

They let the rehearsal of the agenda run on a plain clone, where no real recordings are.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

import spectrim
from spectrim.data.builtin import sample_pack
from spectrim.data.corpora.esc import ESC10
from spectrim.data.manifest import read_data

RATE = 16_000
SPLITS = ("train", "train", "train", "train", "valid", "valid", "test", "test")


def make_corpora(root: Path) -> Path:
    """The corpora below `root`; labels of sounds and speakers are invented."""
    labels = spectrim.load("ast-digits").labels
    clips = read_data(sample_pack()).clips
    spoken: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    for clip in clips:
        spoken[clip.labels[0]].append(soundfile.read(clip.path, dtype="float32")[0])

    folder = root / "FSDD" / "recordings"
    folder.mkdir(parents=True)
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    for digit, label in enumerate(digits):
        for take, samples in enumerate(spoken[label]):
            soundfile.write(folder / f"{digit}_pack_{take}.wav", samples, RATE)

    sounds = list(ESC10.values())
    five_seconds = {
        sound: np.resize(np.concatenate(parts), 5 * RATE)
        for sound, parts in zip(sounds, spoken.values(), strict=True)
    }
    for number, (sound, samples) in enumerate(five_seconds.items(), 1):
        folder = root / "ESC-10" / f"{number:03} - {sound}"
        folder.mkdir(parents=True)
        for take in range(2):
            name = folder / f"5-{number}0{take}-A.ogg"
            soundfile.write(name, np.roll(samples, take * RATE), RATE, format="OGG")

    rows = []
    (root / "ESC-50").mkdir()
    for number, (sound, samples) in enumerate(five_seconds.items()):
        soundfile.write(root / "ESC-50" / f"{number:02}.ogg", samples, RATE, format="OGG")
        for fold in range(1, 6):
            start = str(fold - 1)
            rows.append(
                [f"{number:02}.ogg", sound, fold, start, str(fold), f"{fold}-{number}", "CC0"]
            )
    write(root / "ESC-50" / "esc50.csv", "path,label,fold,start,end,clip,licence", rows)

    rows = []
    (root / "ArabicSpeechCommands").mkdir()
    for label in labels[:4]:
        parts = spoken[label][: len(SPLITS)]
        name = f"{label}.ogg"
        whole = np.concatenate(parts)
        soundfile.write(root / "ArabicSpeechCommands" / name, whole, RATE, format="OGG")
        ends = np.cumsum([len(part) for part in parts]) / RATE
        starts = [0.0, *ends[:-1]]
        for take, (split, start, end) in enumerate(zip(SPLITS, starts, ends, strict=True)):
            rows.append([name, label, split, f"{start:.4f}", f"{end:.4f}", f"speaker {take}"])
    folder = root / "ArabicSpeechCommands"
    write(folder / "words.csv", "path,label,split,start,end,speaker", rows)
    by_speaker = [[row[0], "speaker 0", *row[2:5], row[1]] for row in rows]
    write(folder / "speakers.csv", "path,label,split,start,end,word", by_speaker)

    folder = root / "LibriSpeech-speakers"
    (folder / "train-clean-100").mkdir(parents=True)
    rows = []
    for speaker, label in enumerate(labels[:3]):
        name = f"train-clean-100/{speaker}-1-0000.ogg"
        soundfile.write(folder / name, np.concatenate(spoken[label]), RATE, format="OGG")
        for split, start in (("train", 0), ("valid", 1), ("test", 2)):
            rows.append([name, f"speaker {speaker}", split, start, start + 1])
    write(folder / "speakers.csv", "path,label,split,start,end", rows)
    return root


def write(path: Path, header: str, rows: Sequence[Sequence[str]]) -> None:
    """A table with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
