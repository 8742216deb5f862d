"""Pack the training audio of the queue into folders of limited size, without re-encoding it.

    python benchmarks/gpu/pack_bundles.py CORPORA OUT [--mib 34] [--words FOLDER]

Writes OUT-1, OUT-2 and OUT-3, one for each call that carries a folder to the GPU machine:

1. Arabic Speech Commands, first words; the synthetic digits of `tools/sample_pack.py words`
2. Arabic Speech Commands, other words; FSDD, one lossless FLAC per speaker
3. ESC-50, folds 1 to 4: the pages of its Ogg files before the first clip of fold 5

Each folder holds manifests with the columns of a recipe: `words.csv`, `fsdd-digit.csv`,
`esc50-shareable.csv` (clips under CC0 and CC BY) and `espeak-words.csv`. Re-encoding at a lower bit
rate would change log-mel features by 0.4 to 0.6 on average, and models are tested on the originals.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000
FIRST_WORDS = 0.525  # fraction of the words in the first folder
SHAREABLE = ("CC0", "CC-BY")
SPOKEN_COMPRESSION = 0.9  # of synthetic words, which are placed in noise

Rows = list[dict[str, str]]


def words(source: Path, target: Path, first: bool) -> None:
    """Copy the files of some words, and the rows of the training and validation clips."""
    with (source / "words.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "valid")]
    files = sorted({row["path"] for row in rows})
    count = round(FIRST_WORDS * len(files))
    chosen = files[:count] if first else files[count:]
    for name in chosen:
        shutil.copyfile(source / name, target / f"word-{name}")
    keys = ("label", "split", "start", "end")
    kept = [
        {"path": f"word-{row['path']}"} | {key: row[key] for key in keys}
        for row in rows
        if row["path"] in chosen
    ]
    write(target / "words.csv", kept)


def fsdd(source: Path, target: Path) -> None:
    """The training takes of a speaker, indices 5 to 49, in one FLAC file."""
    speakers = defaultdict(list)
    for path in sorted(source.glob("*.wav")):
        if int(path.stem.split("_")[2]) >= 5:
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
                    "split": "train",
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
    write(target / "fsdd-digit.csv", rows)


def esc50(source: Path, target: Path) -> None:
    """Folds 1 to 4 of every class; the manifest lists the clips under CC0 and CC BY."""
    with (source / "esc50.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ends: dict[str, float] = {}
    for row in rows:
        if row["fold"] != "5":
            ends[row["path"]] = max(ends.get(row["path"], 0.0), float(row["end"]))
    for name, end in ends.items():
        first = min(float(r["start"]) for r in rows if r["path"] == name and r["fold"] == "5")
        if first < end:
            raise SystemExit(f"{name}: a clip of fold 5 stands before one of folds 1 to 4")
        pages = pages_until((source / name).read_bytes(), round(end * RATE))
        (target / f"esc-{name}").write_bytes(pages)
    kept = [
        {"path": f"esc-{row['path']}"}
        | {key: row[key] for key in ("label", "fold", "start", "end")}
        for row in rows
        if row["fold"] != "5" and row["licence"] in SHAREABLE
    ]
    write(target / "esc50-shareable.csv", kept)


def pages_until(ogg: bytes, samples: int) -> bytes:
    """The pages of an Ogg file up to the one that completes this number of samples.

    A page begins with "OggS", version, flags, the 64-bit number of samples that it completes
    (-1: none), serial number, page number, checksum, the number of its segments, and their sizes.
    """
    position = 0
    while position < len(ogg):
        magic, completed, segments = struct.unpack_from("<4sxxq12xB", ogg, position)
        if magic != b"OggS":
            raise SystemExit(f"no Ogg page at byte {position}")
        sizes = ogg[position + 27 : position + 27 + segments]
        position += 27 + segments + sum(sizes)
        if completed >= samples:
            break
    return ogg[:position]


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
    parser.add_argument("out", help="Prefix of the three folders.")
    parser.add_argument("--mib", type=float, default=34, help="Largest size of a folder.")
    parser.add_argument("--words", type=Path, help="Folder of `tools/sample_pack.py words`.")
    args = parser.parse_args()
    folders = [Path(f"{args.out}-{number}") for number in (1, 2, 3)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    arabic = args.corpora / "ArabicSpeechCommands"
    words(arabic, folders[0], first=True)
    if args.words:
        spoken(args.words, folders[0])
    else:
        print("left out: synthetic digits; give --words")
    words(arabic, folders[1], first=False)
    fsdd(args.corpora / "FSDD" / "recordings", folders[1])
    esc50(args.corpora / "ESC-50", folders[2])
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) / 2**20 for folder in folders]
    for folder, size in zip(folders, sizes, strict=True):
        print(f"{folder}: {size:.1f} MiB of {args.mib:g} MiB")
    if max(sizes) > args.mib:
        raise SystemExit("A folder is too large.")


if __name__ == "__main__":
    main()
