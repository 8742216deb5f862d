"""Labels of sherpa-onnx against those of `spectrim tag`, for a trained CED.

    pip install sherpa-onnx
    python benchmarks/sherpa_onnx_tags.py

Trains a small CED on the spoken digits of FSDD (ten minutes on one thread), exports it at three
keep rates, and tags the 300 test clips with both. Prints the figures in docs/deploy.md.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import sherpa_onnx
import torch
from torch import Tensor

import spectrim
from spectrim.audio.decode import read
from spectrim.integrations.sherpa_onnx import export_sherpa_onnx, labels_csv
from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer

ROOT = Path(__file__).parents[1]
CORPUS = Path(os.environ.get("SPECTRIM_DATA", ROOT.parent / "shared" / "data")) / "FSDD/recordings"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BLOCKS = (1, 2)  # of four
FRAMES = 96  # 1 s
SAMPLES = 15_840  # of 16 kHz: 0.99 s
OFFSETS = (0, 37, 80, 121)  # samples at which training clips start, in turns
EPOCHS, BATCH, RATE = 24, 64, 1.5e-3
KEEP_RATES = (1.0, 0.7, 0.5)


def is_test(path: Path) -> bool:
    """Whether a file is of the official test split: its last number is below 5."""
    return int(path.stem.split("_")[2]) < 5


def features_of(
    model: SpectrogramTransformer, waves: list[np.ndarray], offset: int
) -> tuple[Tensor, Tensor]:
    """Features and numbers of valid frames of sounds from an offset on."""
    parts = [
        model.features([(wave[offset:], 16_000) for wave in waves[start : start + 300]])
        for start in range(0, len(waves), 300)
    ]
    features, valid = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(valid)


def trained(files: list[Path]) -> SpectrogramTransformer:
    """A CED of 4 blocks and width 96, trained with keep rates from 0.6 to 1.0."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = preset("ced-tiny", DIGITS, width=96, heads=3, depth=4, frames=FRAMES,
                    activation="softmax", metric="accuracy")  # fmt: skip
    model = spectrim.prune(SpectrogramTransformer(config), 0.7, blocks=BLOCKS)
    labels = torch.tensor([int(path.name[0]) for path in files])
    waves = [read(path)[:SAMPLES] for path in files]
    sets = [features_of(model, waves, offset) for offset in OFFSETS]
    optimiser = torch.optim.AdamW(model.train().parameters(), RATE, weight_decay=0.05)
    steps = EPOCHS * (len(files) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for epoch in range(EPOCHS):
        features, valid = sets[epoch % len(sets)]
        for chosen in torch.randperm(len(files)).split(BATCH)[: steps // EPOCHS]:
            batch = features[chosen]
            mel, frame = int(rng.integers(0, 56)), int(rng.integers(0, 80))
            batch[:, :, mel : mel + 8] = 0
            batch[:, frame : frame + 10] = 0
            logits = model(batch, valid[chosen], keep_rate=float(rng.uniform(0.6, 1.0)))
            loss = torch.nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.2f}", flush=True)
    return model.eval()


def compare(model: SpectrogramTransformer, files: list[Path], path: Path) -> str:
    """Export a model, tag all files with both, and count."""
    export_sherpa_onnx(model, path)
    ced = sherpa_onnx.AudioTaggingModelConfig(ced=str(path), num_threads=1)
    config = sherpa_onnx.AudioTaggingConfig(model=ced, labels=str(labels_csv(path)), top_k=10)
    tagger = sherpa_onnx.AudioTagging(config)
    same, right, apart = 0, {"sherpa-onnx": 0, "tag": 0}, []
    for file in files:
        sound = read(file)
        stream = tagger.create_stream()
        stream.accept_waveform(16_000, sound)
        theirs = {event.name: event.prob for event in tagger.compute(stream)}
        row = spectrim.tag(model, (sound, 16_000), top=10)[0]  # sherpa-onnx: the first window only
        ours = {label["label"]: label["probability"] for label in row["labels"]}
        tops = {"sherpa-onnx": max(theirs, key=theirs.__getitem__), "tag": next(iter(ours))}
        same += tops["sherpa-onnx"] == tops["tag"]
        for name, top in tops.items():
            right[name] += top == DIGITS[int(file.name[0])]
        apart.append(max(abs(theirs[label] - ours[label]) for label in ours))
    return (
        f"{len(files)} clips: same top label {same}; right {right}; probabilities differ by "
        f"{np.median(apart):.3f} (median) and {max(apart):.3f} (maximum)"
    )


def main() -> None:
    """Train, compare, print."""
    files = sorted(CORPUS.glob("*.wav"))
    model = trained([path for path in files if not is_test(path)])
    print(f"sherpa-onnx {sherpa_onnx.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for keep_rate in KEEP_RATES:
            pruned = spectrim.prune(model, keep_rate, blocks=BLOCKS)
            text = compare(pruned, list(filter(is_test, files)), Path(folder) / "ced.onnx")
            print(f"keep rate {keep_rate}: {text}", flush=True)


if __name__ == "__main__":
    main()
