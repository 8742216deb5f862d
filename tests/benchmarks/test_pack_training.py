"""Packed training clips are the training clips, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from spectrim.audio.decode import read
from spectrim.data.manifest import read_data

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "pack_training.py"


def tone(path: Path, pitch: float, seconds: float, rate: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(int(seconds * rate)) * pitch), rate)
    return path


def test_training_clips_only_and_each_where_its_row_says(tmp_path):
    rows = ["path,label,split,start,end"]
    for number in range(6):
        tone(tmp_path / "manifests" / f"{number}.wav", 0.05 * (number + 1), 1.0, 16_000)
        split = "test" if number == 5 else "train"
        rows.append(f"{number}.wav,{'ab'[number % 2]},{split},0.1,{0.4 + number / 10}")
    (tmp_path / "manifests" / "words.csv").write_text("\n".join(rows) + "\n")
    tone(tmp_path / "espeak" / "two_en+f2_00012.wav", 0.1, 0.5, 16_000)
    command = [sys.executable, SCRIPT, tmp_path / "manifests", tmp_path / "out"]
    done = subprocess.run(
        [*command, "--words", tmp_path / "espeak"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "left out: esc50-shareable, no clips" in done.stdout
    source = {(c.labels, round(c.end - c.start, 6)): c
              for c in read_data(tmp_path / "manifests" / "words.csv").clips}  # fmt: skip
    clips = read_data(tmp_path / "out" / "manifests" / "words.csv").clips
    assert [clip.labels[0] for clip in clips] == ["a", "a", "a", "b", "b"]
    for clip in clips:
        original = source[clip.labels, round(clip.end - clip.start, 6)]
        wanted, packed = (
            read(original.path, original.start, original.end),
            read(clip.path, clip.start, clip.end),
        )
        assert len(packed) == len(wanted)
        assert np.corrcoef(packed, wanted)[0, 1] > 0.99
    (word,) = read_data(tmp_path / "out" / "manifests" / "espeak-words.csv").clips
    assert word.labels == ("two",) and word.end == 0.5
