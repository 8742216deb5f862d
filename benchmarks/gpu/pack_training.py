"""Pack the training clips of the built-in models for a GPU machine that takes little data.

    python benchmarks/gpu/pack_training.py manifests OUT --words WORDS

Reads the manifests that `spectrim data prepare` wrote. Writes manifests of the same names to
OUT/manifests/, with training clips only, and the sounds as one Ogg Vorbis file per class at 16 kHz.
Sounds are compressed a second time, so models are tested elsewhere, on the clips as they are.

WORDS is the folder that `tools/sample_pack.py words` wrote: OUT/manifests/espeak-words.csv.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from spectrim.audio.constants import SAMPLE_RATE
from spectrim.common.errors import SpectrimError
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data, write_manifest
from spectrim.data.one_pass import decode_clips

# Manifest, and the compression of libsndfile from 0 (best) to 1 (smallest).
CORPORA = {"words": 0.85, "fsdd-digit": 0.7, "esc50-shareable": 0.7, "espeak-words": 0.7}
TEST_FOLD = "5"
BLOCK = SAMPLE_RATE  # samples that are encoded at a time: libsndfile crashes on long arrays


def training_clips(manifests: Path, name: str, words: Path | None) -> list[Clip]:
    """Clips that a model may be trained on; none if the manifest does not exist."""
    if name == "espeak-words":
        paths = sorted(words.glob("*.wav")) if words else []
        return [Clip(path, (path.stem.split("_")[0],), "train") for path in paths]
    path = manifests / f"{name}.csv"
    if not path.is_file():
        return []
    return [
        clip
        for clip in read_data(path).clips
        if clip.split in (None, "train") and clip.fold != TEST_FOLD
    ]


def pack(clips: Sequence[Clip], folder: Path, compression: float) -> Iterator[Clip]:
    """Write one file per class; returns the clips as parts of these files."""
    by_class: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_class[clip.labels[0]].append(clip)
    folder.mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(sorted(by_class)):
        members = by_class[label]
        path = folder / f"{number:02d}.ogg"
        waveforms = []
        with ThreadPoolExecutor(1) as pool:
            for waveform in decode_clips(members, pool):
                if isinstance(waveform, SpectrimError):
                    raise waveform
                waveforms.append(waveform)
        write_ogg(path, np.concatenate(waveforms), compression)
        edges = np.cumsum([0, *map(len, waveforms)]) / SAMPLE_RATE
        for clip, start, end in zip(members, edges[:-1], edges[1:], strict=True):
            # Six decimals: the nearest sample is 1/16000 s away.
            yield replace(
                clip, path=path, start=round(float(start), 6), end=round(float(end), 6), row=0
            )


def write_ogg(path: Path, samples: np.ndarray, compression: float) -> None:
    """(samples,) float32 at 16 kHz as Ogg Vorbis."""
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, 1, "VORBIS", format="OGG", compression_level=compression
    ) as file:
        for start in range(0, len(samples), BLOCK):
            file.write(samples[start : start + BLOCK])


def main() -> None:
    """Parse, pack, print sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifests", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=Path, help="folder of the espeak-ng words")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    args = parser.parse_args()
    for name in args.corpora:
        clips = training_clips(args.manifests, name, args.words)
        if not clips:
            print(f"left out: {name}, no clips")
            continue
        packed = list(pack(clips, args.out / name, CORPORA[name]))
        write_manifest(args.out / "manifests" / f"{name}.csv", packed)
        size = sum(file.stat().st_size for file in (args.out / name).iterdir())
        print(f"{name}: {len(packed)} clips, {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
