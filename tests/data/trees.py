"""The corpora in their published layouts, a few tiny sounds each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from spectrim.data.corpora.speechcommands import WORDS

HEADER = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n"
COLUMNS = "# YTID, start_seconds, end_seconds, positive_labels\n"


def sound(path: Path, seed: int = 0, samples: int = 800) -> Path:
    """50 ms of noise at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, samples)
    soundfile.write(path, noise, 16_000)
    return path


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def listing(folder: Path) -> list[tuple[str, int]]:
    """What lies below a folder, and when it changed."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def fsdd(root: Path) -> Path:
    for name in ("7_jackson_4", "7_jackson_5", "0_theo_49"):
        sound(root / "recordings" / f"{name}.wav")
    return root


def esc10(root: Path) -> Path:
    """Three classes, two clips each in folds 1 and 2."""
    for number, name in enumerate(("Dog bark", "Rain", "Rooster"), 1):
        for fold in (1, 2):
            for take in "AB":
                seed = number * 100 + fold * 10 + ord(take)
                folder = root / f"{number:03d} - {name}"
                sound(folder / f"{fold}-{number}00-{take}.ogg", seed, 8000 + 160 * number)
    text(root / "ATTRIBUTION.md", "who recorded what")
    return root


def esc50(root: Path) -> Path:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number, (name, part) in enumerate((("dog", True), ("rain", True), ("pig", False))):
        for fold in range(1, 6):
            file = f"{fold}-{number}00-A-{number}.wav"
            sound(root / "audio" / file, number * 10 + fold)
            rows.append(f"{file},{fold},{number},{name},{part},{number}00,A")
    text(root / "meta" / "esc50.csv", *rows)
    return root


def speechcommands(root: Path) -> Path:
    for word in WORDS:
        for speaker in ("0c40e715", "a1b2c3d4", "ffffffff"):
            sound(root / word / f"{speaker}_nohash_0.wav")
    sound(root / "_background_noise_" / "running_tap.wav")
    text(root / "validation_list.txt", *(f"{word}/a1b2c3d4_nohash_0.wav" for word in WORDS))
    text(root / "testing_list.txt", *(f"{word}/ffffffff_nohash_0.wav" for word in WORDS))
    return root


def audioset(root: Path) -> Path:
    """Every documented naming once; ids that begin with - and _; one video gone."""
    segments: dict[str, list[tuple[str, str | None]]] = {
        "balanced_train_segments": [
            ('--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"', "train/--PJHxphWEs.wav"),
            ('_aBcDeFgHiJ, 0.000, 10.000, "/m/05zppz"', "train/_aBcDeFgHiJ_0.flac"),
            ('Yabcdefghij, 30.000, 40.000, "/m/09x0r"', "YYabcdefghij_30.000_40.000.wav"),
            ('gone0000000, 30.000, 40.000, "/m/09x0r"', None),
        ],
        "eval_segments": [
            ('-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw"', "deep/er/-0RWZT-miFs_420_430.wav"),
            ('eval0000001, 1.500, 8.000, "/m/09x0r"', "Yeval0000001.ogg"),
        ],
        "unbalanced_train_segments": [
            ('unbal000001, 20.000, 30.000, "/m/09x0r"', "unbal000001_20000_30000.wav"),
            ('unbal000002, 20.000, 30.000, "/m/09x0r"', "unbal000002_20.0_30.0.wav"),
        ],
    }
    for name, rows in segments.items():
        (root).mkdir(exist_ok=True)
        body = "".join(row + "\n" for row, _ in rows)
        (root / f"{name}.csv").write_text(HEADER + COLUMNS + body)
        for _, file in rows:
            if file:
                sound(root / "audio" / file)
    return root


def voxceleb1(root: Path) -> Path:
    """One clip in each place that the archives unpack to."""
    rows = {
        "1 id10001/1zcIwhmdeo4/00001.wav": "dev/wav",
        "2 id10001/7gWzIy6yIIk/00001.wav": "wav",
        "3 id10270/x6uYqmx31kE/00002.wav": "test/wav",
        "1 id11251/-5HjvbNXn-A/00003.wav": ".",
    }
    for row, place in rows.items():
        sound(root / place / row.split()[1])
    text(root / "iden_split.txt", *rows)
    return root


def esc50_packed(root: Path) -> Path:
    """Two files of six clips of 0.1 s each, two per fold, with their table."""
    rows = ["path,label,fold,start,end,clip,licence"]
    licences = ("CC0", "CC-BY", "CC-BY-NC")
    for number, name in enumerate(("Sea waves", "Door knock")):
        sound(root / f"{number:02d}.ogg", number, 6 * 1600)
        for take in range(6):
            fold, start = take // 2 + 1, take / 10
            clip, licence = f"{fold}-{number}0{take}-A", licences[take % 3]
            times = f"{start},{start + 0.1:.1f}"
            rows.append(f"{number:02d}.ogg,{name},{fold},{times},{clip},{licence}")
    text(root / "esc50.csv", *rows)
    return root


def arabicspeechcommands(root: Path) -> Path:
    """Two words by three speakers, one take each, 0.1 s per clip."""
    words, speakers = ["path,label,split,start,end,speaker"], ["path,label,split,start,end,word"]
    for number, word in enumerate(("yes", "zoom in")):
        file = word.replace(" ", "_") + ".ogg"
        sound(root / file, number, 3 * 1600)
        for take, split in enumerate(("train", "valid", "test")):
            times = f"{take / 10},{take / 10 + 0.1:.1f}"
            words.append(f"{file},{word},{split},{times},speaker {take}")
            by_word = "train" if number == 0 else "test"
            speakers.append(f"{file},speaker {take},{by_word},{times},{word}")
    text(root / "words.csv", *words)
    text(root / "speakers.csv", *speakers)
    return root


def librispeech(root: Path) -> Path:
    """Two speakers: one in the published layout with a short first utterance, one packed."""
    folder = root / "train-clean-100"
    sound(folder / "103" / "1240" / "103-1240-0000.flac", 0, 16_000)
    sound(folder / "103" / "1240" / "103-1240-0001.flac", 1, int(9.5 * 16_000))
    sound(folder / "103" / "1240" / "103-1240-0002.flac", 2, 20 * 16_000)
    sound(folder / "40-222-0000.ogg", 3, int(11.234 * 16_000))
    text(folder / "103" / "1240" / "103-1240.trans.txt", "103-1240-0000 CHAPTER ONE")
    return root


TREES = {
    "esc50": esc50,
    "esc50-mixtures": esc50,
    "esc10": esc10,
    "speechcommands": speechcommands,
    "audioset": audioset,
    "voxceleb1": voxceleb1,
    "fsdd": fsdd,
    "arabicspeechcommands": arabicspeechcommands,
    "librispeech": librispeech,
}
