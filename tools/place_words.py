"""The training clips of the built-in digit models: real and synthetic words, clean and placed.

    python tools/sample_pack.py words WORDS
    spectrim data prepare fsdd FSDD --out manifests
    python tools/place_words.py --fsdd manifests/fsdd-digit.csv --words WORDS --out FOLDER

Writes two manifests. `digits-clean.csv`: FSDD's training clips and the words as they are, to begin
with, since a model of this size that starts on words anywhere in noise stays on a plateau.
`digits.csv`: FSDD's training clips twice as they are and twice placed in generated backgrounds as
the sample pack's clips are, each word three times placed. FSDD's official test clips are the test.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from sample_pack import RATE, WORDS, place
from spectrim.audio.decode import read
from spectrim.common.files import make_folder
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data, write_manifest

REAL, SYNTHETIC = 2, 3  # how often a clip is placed
CLEAN = 2  # how often a real clip stands in the manifest as it is


def placed(clip: Clip, path: Path, seed: tuple[int, int]) -> Clip:
    """Write one clip, 0.9 to 1.1 times as fast, in a background; the same for the same seed."""
    rng = np.random.default_rng(seed)
    waveform = read(clip.path, clip.start, clip.end)
    points = np.arange(0, len(waveform) - 1, rng.uniform(0.9, 1.1))
    faster = np.interp(points, np.arange(len(waveform)), waveform).astype(np.float32)
    sound, start, end = place(faster, rng)
    soundfile.write(path, sound, RATE, format="FLAC", subtype="PCM_16")
    return replace(
        clip,
        path=path,
        start=None,
        end=None,
        target_start=round(start, 3),
        target_end=round(end, 3),
    )


def words_of(path: Path) -> list[Clip]:
    """The words of a folder, in the order of their names, or of a manifest."""
    if path.is_file():
        return [replace(clip, split="train") for clip in read_data(path).clips]
    return [Clip(file, (file.stem.split("_")[0],), "train") for file in sorted(path.glob("*.wav"))]


def main() -> None:
    """Parse, place, write the manifests."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fsdd", type=Path, required=True, help="manifest of FSDD by digit")
    parser.add_argument(
        "--words",
        type=Path,
        required=True,
        help="folder that `sample_pack.py words` wrote, or a manifest of these words",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    manifest = read_data(args.fsdd)
    real, test = (
        [clip for clip in manifest.clips if clip.split == name] for name in ("train", "test")
    )
    words = words_of(args.words)
    if not words or not {clip.labels[0] for clip in words} <= set(WORDS):
        raise SystemExit(f"{args.words}: no words in it; tools/sample_pack.py words makes them")
    folder = make_folder(args.out / "placed")
    jobs = [
        (clip, folder / f"{clip.path.stem}-{at}-{number}.flac", (kind, at * 10 + number))
        for kind, (clips, times) in enumerate(((real, REAL), (words, SYNTHETIC)))
        for at, clip in enumerate(clips)
        for number in range(times)
    ]
    with ProcessPoolExecutor(args.workers) as pool:
        done = list(pool.map(placed, *zip(*jobs, strict=True), chunksize=50))
    print(write_manifest(args.out / "digits-clean.csv", [*real, *words, *test]))
    print(write_manifest(args.out / "digits.csv", [*real * CLEAN, *done, *test]))


if __name__ == "__main__":
    main()
