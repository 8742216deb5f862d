"""Pack real clips for the GPU agenda: FSDD's test clips, and fold 5 of ESC-10 at 16 kHz.

    python benchmarks/gpu/pack_audio.py CORPORA OUT [CLIPS]

CORPORA holds `FSDD/recordings/` and `ESC-10/`. Each packed folder gets a `manifest.csv`. CLIPS
limits the clips of each corpus.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import soundfile
import soxr

from spectrim.data.corpora.esc import ESC10

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000
CATEGORIES = {name: category for category, name in ESC10.items()}  # classes of ast-esc50


def fsdd(source: Path, target: Path, most: int) -> None:
    """Takes 0 to 4 of every digit and speaker, as they are."""
    rows = []
    for path in spread(sorted(source.glob("*_[0-4].wav")), most):
        shutil.copyfile(path, target / path.name)
        rows.append((path.name, DIGITS[int(path.name[0])]))
    write(target, rows)


def esc10(source: Path, target: Path, most: int) -> None:
    """Fold 5, resampled and encoded as Ogg Vorbis: the models take 16 kHz."""
    rows = []
    for path in spread(sorted(source.glob("*/5-*.ogg")), most):
        samples, rate = soundfile.read(path, always_2d=True)
        mono = soxr.resample(samples.mean(1), rate, RATE)
        soundfile.write(target / path.name, mono, RATE, format="OGG", subtype="VORBIS")
        rows.append((path.name, CATEGORIES[path.parent.name.partition(" - ")[2]]))
    write(target, rows)


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` paths, evenly spread, so that no class is missing."""
    return paths[:: max(1, len(paths) // most)][:most]


def write(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Write a manifest of (path, label)."""
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    print(f"{folder}: {len(rows)} clips")


def main() -> None:
    """Pack what is there."""
    corpora, out = Path(sys.argv[1]), Path(sys.argv[2])
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    for name, folder, pack in (
        ("fsdd", corpora / "FSDD" / "recordings", fsdd),
        ("esc10", corpora / "ESC-10", esc10),
    ):
        if not folder.is_dir():
            print(f"left out: {name}, no folder {folder}")
            continue
        (out / name).mkdir(parents=True, exist_ok=True)
        pack(folder, out / name, most)


if __name__ == "__main__":
    main()
