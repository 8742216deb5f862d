"""A small task that can be learned in seconds: which of three tones sounds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

TONES = {"low": 220.0, "middle": 880.0, "high": 3520.0}

RECIPE = """
epochs: 2
schedule: {start: 0.5, length: 1}
keep_rate: 0.6
model: {preset: ast-tiny, frames: 64}
data: {manifest: MANIFEST, workers: 2}
augment: {roll: true, gain: true, mixup: 0.5, spec_time: 16, spec_frequency: 16, noise: 0.1,
          shift: 10, token_columns: 0.7, token_rows: 0.7}
optim: {lr: 1.0e-3, batch_size: 8, weight_decay: 0.05, warmup_epochs: 0.5, clip: 1.0}
run: {tensorboard: false, threads: 1}
"""


def write_tones(
    folder: Path, train: int = 8, valid: int = 2, test: int = 3, name: str = "{}-{}-{}.wav"
) -> Path:
    """A manifest of tones in noise, so many clips a class and split.

    Args:
        name: of a clip, from its class, split and number.
    """
    rng = np.random.default_rng(0)
    rows = []
    for label, hertz in TONES.items():
        for split, count in (("train", train), ("valid", valid), ("test", test)):
            for number in range(count):
                samples = int(rng.integers(7000, 10400))
                time = np.arange(samples) / 16_000
                sound = 0.3 * np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6))
                sound += 0.02 * rng.standard_normal(samples)
                path = folder / name.format(label, split, number)
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, sound.astype(np.float32), 16_000)
                within = str(path.relative_to(folder))
                rows.append({"path": within, "label": label, "split": split})
    manifest = folder / "tones.csv"
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def write_recipe(folder: Path, manifest: Path, text: str = RECIPE) -> Path:
    """A recipe for the clips of a manifest."""
    path = folder / "recipe.yaml"
    path.write_text(text.replace("MANIFEST", str(manifest)))
    return path
