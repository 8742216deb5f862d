"""Train the built-in `ast-digits`: provisional, until Spectrim's training room replaces it.

    python tools/sample_pack.py words WORDS
    python tools/train_digits.py --fsdd FSDD/recordings --words WORDS --out FOLDER

Trains an AST (tiny, 128 frames) from scratch on FSDD's training split (indices 5 to 49) and on
synthetic words, spoken by voices that the sample pack does not use. Half of the real clips are
left as they are, all else is placed in generated backgrounds as the pack's clips are. FSDD's
official test clips are only evaluated on, and choose nothing: the last epoch is kept.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import spectrim
from sample_pack import SAMPLES, WORDS, place
from spectrim.audio.decode import read

FRAMES = 128


def fsdd(folder: Path, train: bool) -> list[tuple[np.ndarray, int]]:
    """FSDD's official split: (waveform at 16 kHz, digit)."""
    clips = []
    for path in sorted(folder.glob("*.wav")):
        digit, _, index = path.stem.split("_")
        if (int(index) >= 5) == train:
            clips.append((read(path), int(digit)))
    return clips


def words(folder: Path) -> list[tuple[np.ndarray, int]]:
    """Synthetic words: (waveform at 16 kHz, digit)."""
    return [
        (read(path), WORDS.index(path.stem.split("_")[0])) for path in sorted(folder.glob("*.wav"))
    ]


def example(
    waveform: np.ndarray, real: bool, hardness: float, rng: np.random.Generator
) -> np.ndarray:
    """One training waveform, at most SAMPLES samples.

    `hardness` 0: clean words at the beginning, since a model of this size that starts on words
    anywhere in noise stays on a plateau; 1: half of the real clips clean, the rest placed.
    """
    if rng.random() > hardness * (0.5 if real else 1.0):
        gain = 10 ** rng.uniform(-0.6, 0.3)
        lead = np.zeros(int(rng.integers(0, 4000)) if rng.random() < 0.3 else 0, np.float32)
        lead = lead + 1e-4 * rng.standard_normal(len(lead)).astype(np.float32)
        return np.concatenate([lead, np.clip(waveform * gain, -1, 1)])[:SAMPLES]
    speed = rng.uniform(0.9, 1.1)
    points = np.arange(0, len(waveform) - 1, speed)
    faster = np.interp(points, np.arange(len(waveform)), waveform).astype(np.float32)
    return place(faster, rng)[0]


def mask(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blank a band of frequencies and a stretch of time of each clip with its mean."""
    for clip in features:
        fill = clip.mean()
        low, wide = int(rng.integers(0, 112)), int(rng.integers(0, 24))
        clip[:, low : low + wide] = fill
        low, wide = int(rng.integers(0, 118)), int(rng.integers(0, 12))
        clip[low : low + wide] = fill
    return features


def accuracy(model: torch.nn.Module, clips: list[tuple[np.ndarray, int]]) -> float:
    """Share of clips whose top label is right."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for at in range(0, len(clips), 64):
            part = clips[at : at + 64]
            logits = model(*model.features_of([waveform for waveform, _ in part]))
            right += int((logits.argmax(1) == torch.tensor([d for _, d in part])).sum())
    model.train()
    return right / len(clips)


def main() -> None:
    """Parse, train, save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fsdd", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--init", type=Path, help="start from a folder that --out made")
    parser.add_argument("--clean", type=int, default=6, help="epochs on clean words")
    parser.add_argument("--ramp", type=int, default=8, help="epochs until all are placed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    real, synthetic, test = fsdd(args.fsdd, True), words(args.words), fsdd(args.fsdd, False)
    if not real or not synthetic:
        raise SystemExit(
            "no clips: --fsdd is FSDD's recordings folder, --words is what "
            "tools/sample_pack.py words made"
        )
    pool = [(*clip, True) for clip in real] + [(*clip, False) for clip in synthetic]
    # Mean and std of log-mel over both kinds of clips, measured on a sample of them.
    model = spectrim.create(
        "ast-tiny", frames=FRAMES, labels=WORDS, activation="softmax", mean=0.0, std=0.5
    )
    sample = [
        example(w, r, 1.0, rng) for w, _, r in (pool[i] for i in rng.permutation(len(pool))[:512])
    ]
    features, _ = model.features_of(sample)
    model = spectrim.create(
        "ast-tiny",
        frames=FRAMES,
        labels=WORDS,
        activation="softmax",
        metric="accuracy",
        mean=round(float(features.mean()), 4),
        std=round(float(features.std()), 4),
    ).train()
    if args.init:
        model = spectrim.load(args.init).train()
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], args.lr
    )
    steps = math.ceil(len(pool) / args.batch) * args.epochs
    warm = steps // 15

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    for epoch in range(args.epochs):
        began, total, right = time.time(), 0.0, 0
        hardness = min(1.0, max(0.0, (epoch - args.clean) / args.ramp))
        order = rng.permutation(len(pool))
        for at in range(0, len(order), args.batch):
            part = [pool[i] for i in order[at : at + args.batch]]
            features, valid = model.features_of([example(w, r, hardness, rng) for w, _, r in part])
            target = torch.tensor([digit for _, digit, _ in part])
            logits = model(mask(features, rng) if hardness else features, valid)
            loss = functional.cross_entropy(logits, target, label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(part)
            right += int((logits.argmax(1) == target).sum())
        row = {
            "epoch": epoch,
            "loss": round(total / len(pool), 4),
            "train": round(right / len(pool), 4),
            "fsdd_test": round(accuracy(model, test), 4),
            "seconds": round(time.time() - began, 1),
        }
        print(json.dumps(row), flush=True)
        model.save(args.out, dtype=torch.float16)


if __name__ == "__main__":
    main()
