"""Pack the training audio of the queue into folders of limited size, without re-encoding it.

    python benchmarks/gpu/pack_bundles.py CORPORA OUT [--mib 34] [--words FOLDER]

Writes OUT-1 to OUT-4, one for each call that carries a folder to the GPU machine:

1. ESC-50
2. Arabic Speech Commands, first words; the synthetic digits of `tools/sample_pack.py words`
3. Arabic Speech Commands, other words; FSDD, one lossless FLAC per speaker
4. LibriSpeech speakers

Manifests have the columns of a recipe: `esc50-shareable.csv` (folds 1 to 4, clips under CC0 and
CC BY), `words.csv`, `words-speaker.csv`, `fsdd-digit.csv`, `espeak-words.csv` and
`librispeech-speaker.csv` to train on, and `esc50-test.csv` (fold 5) and those of the others with
`-test`. `esc50-all.csv` lists all clips of ESC-50, which `place_mixtures.py` mixes. The manifests
of the words lie in the third folder and name files of the second one too. Re-encoding at a lower
bit rate would change log-mel features by 0.4 to 0.6 on average, and models are tested on the
originals.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from spectrim.data.corpora.esc import category

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000
FIRST_WORDS = 0.525  # fraction of the words in the first folder
SHAREABLE = ("CC0", "CC-BY")
SPOKEN_COMPRESSION = 0.9  # of synthetic words, which are placed in noise

Rows = list[dict[str, str]]


def words(source: Path, first: Path, second: Path) -> None:
    """Copy the files of the words into two folders; the second one gets the manifests.

    By word and by speaker: both tables name the same files.
    """
    files = sorted({row["path"] for row in table(source / "words.csv")})
    count = round(FIRST_WORDS * len(files))
    paths = {}
    for position, name in enumerate(files):
        folder = first if position < count else second
        shutil.copyfile(source / name, folder / f"word-{name}")
        paths[name] = ("" if folder == second else f"../{first.name}/") + f"word-{name}"
    for name, listed in (("words", "words.csv"), ("words-speaker", "speakers.csv")):
        write_splits(second, name, table(source / listed), paths)


def librispeech(source: Path, target: Path) -> None:
    """The files that `speakers.csv` lists, as they are."""
    rows = table(source / "speakers.csv")
    paths = {row["path"]: f"libri-{Path(row['path']).name}" for row in rows}
    for name, copied in paths.items():
        shutil.copyfile(source / name, target / copied)
    write_splits(target, "librispeech-speaker", rows, paths)


def table(path: Path) -> Rows:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_splits(folder: Path, name: str, rows: Rows, paths: dict[str, str]) -> None:
    """Write NAME.csv to train on, with the validation clips, and NAME-test.csv."""
    keys = ("label", "split", "start", "end")
    rows = [{"path": paths[row["path"]]} | {key: row[key] for key in keys} for row in rows]
    write(folder / f"{name}.csv", [row for row in rows if row["split"] != "test"])
    write(folder / f"{name}-test.csv", [row for row in rows if row["split"] == "test"])


def fsdd(source: Path, target: Path) -> None:
    """The takes of a speaker in one FLAC file; the test takes are those with indices 0 to 4."""
    speakers = defaultdict(list)
    for path in sorted(source.glob("*.wav")):
        speakers[path.stem.split("_")[1]].append(path)
    rows: Rows = []
    for speaker, paths in speakers.items():
        takes = []
        begin = 0
        for path in paths:
            samples, rate = soundfile.read(path, dtype="int16")
            rows.append(
                {
                    "path": f"fsdd-{speaker}.flac",
                    "label": DIGITS[int(path.name[0])],
                    "split": "test" if int(path.stem.split("_")[2]) < 5 else "train",
                    "start": f"{begin / rate:.6f}",
                    "end": f"{(begin + len(samples)) / rate:.6f}",
                }
            )
            begin += len(samples)
            takes.append(samples)
        whole = np.concatenate(takes)
        soundfile.write(
            target / f"fsdd-{speaker}.flac", whole, rate, "PCM_16", compression_level=1.0
        )
    write(target / "fsdd-digit.csv", [row for row in rows if row["split"] == "train"])
    write(target / "fsdd-digit-test.csv", [row for row in rows if row["split"] == "test"])


def esc50(source: Path, target: Path) -> None:
    """All files; the manifest to train on lists the clips under CC0 and CC BY of folds 1 to 4."""
    rows = [row | {"label": category(row["label"])} for row in table(source / "esc50.csv")]
    for name in {row["path"] for row in rows}:
        shutil.copyfile(source / name, target / f"esc-{name}")
    keys = ("label", "fold", "start", "end")
    kept = [
        {"path": f"esc-{row['path']}"} | {key: row[key] for key in keys}
        for row in rows
        if row["fold"] != "5" and row["licence"] in SHAREABLE
    ]
    write(target / "esc50-shareable.csv", kept)
    held_out = [
        {"path": f"esc-{row['path']}", "split": "test"} | {key: row[key] for key in keys}
        for row in rows
        if row["fold"] == "5"
    ]
    write(target / "esc50-test.csv", held_out)
    write(target / "esc50-all.csv", [row | {"path": f"esc-{row['path']}"} for row in rows])


def spoken(source: Path, target: Path) -> None:
    """The synthetic words, one Ogg Vorbis file per digit."""
    takes = defaultdict(list)
    for path in sorted(source.glob("*.wav")):
        takes[path.stem.split("_")[0]].append(path)
    rows: Rows = []
    for digit, paths in takes.items():
        begin = 0
        file = target / f"espeak-{digit}.ogg"
        options = {"format": "OGG", "subtype": "VORBIS", "compression_level": SPOKEN_COMPRESSION}
        with soundfile.SoundFile(file, "w", RATE, 1, **options) as ogg:
            for path in paths:
                samples, rate = soundfile.read(path, dtype="float32")
                if rate != RATE:
                    raise SystemExit(f"{path}: {rate} Hz; expected {RATE}")
                ogg.write(samples)
                row = {"path": file.name, "label": digit, "name": path.stem}
                row |= {"start": str(begin / RATE), "end": str((begin + len(samples)) / RATE)}
                rows.append(row)
                begin += len(samples)
    write(target / "espeak-words.csv", rows)


def write(manifest: Path, rows: Rows) -> None:
    """Write a manifest."""
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{manifest}: {len(rows)} clips")


def main() -> None:
    """Pack what is there, and check the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", help="Prefix of the four folders.")
    parser.add_argument("--mib", type=float, default=40, help="Largest size of a folder.")
    parser.add_argument("--words", type=Path, help="Folder of `tools/sample_pack.py words`.")
    args = parser.parse_args()
    folders = [Path(f"{args.out}-{number}") for number in (1, 2, 3, 4)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    esc50(args.corpora / "ESC-50", folders[0])
    if args.words:
        spoken(args.words, folders[1])
    else:
        print("left out: synthetic digits; give --words")
    words(args.corpora / "ArabicSpeechCommands", folders[1], folders[2])
    fsdd(args.corpora / "FSDD" / "recordings", folders[2])
    librispeech(args.corpora / "LibriSpeech-speakers", folders[3])
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) / 2**20 for folder in folders]
    for folder, size in zip(folders, sizes, strict=True):
        print(f"{folder}: {size:.1f} MiB of {args.mib:g} MiB")
    if max(sizes) > args.mib:
        raise SystemExit("A folder is too large.")


if __name__ == "__main__":
    main()
