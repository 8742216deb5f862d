"""Which attention ranks patches best: of the block that prunes, of a later one, or of all blocks?

    python benchmarks/mean_attention.py ast-words --data manifests/words.csv --split valid

Accuracy in percent, pruned in the paper's blocks. The attention of other blocks comes from an
unpruned pass over the same clip, so these rankings save no time. They show what a better ranking
is worth (results/alignment.md).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

import spectrim
from spectrim.data.batches import batches
from spectrim.data.manifest import read_data
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.context import Context
from spectrim.pruning.plan import Plan

BATCH_SIZE = 100


class FixedScore:
    """A score that is known before the pass: (batch, input patches)."""

    values: Tensor

    def __call__(self, context: Context) -> Tensor:
        """(batch, patches) the values of the patches that are ranked."""
        return context.carry(self.values)


def rankings(model: SpectrogramTransformer, features: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """(batch, patches) attention received in an unpruned pass, by name of the ranking."""
    scores = model.trace(features, valid, score="attention").scores
    shares = torch.stack([one / one.sum(1, keepdim=True) for one in scores])
    return {
        f"block {len(scores) // 2}": shares[len(scores) // 2],
        "last block": shares[-1],
        "mean of all blocks": shares.mean(0),
    }


def correct_count(
    model: SpectrogramTransformer, features: Tensor, valid: Tensor, truth: Tensor
) -> int:
    """Number of clips whose top class is right."""
    return int((model(features, valid).argmax(1) == truth).sum())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--fold")
    parser.add_argument("--keep-rates", default="0.7,0.5,0.4")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rates = [float(rate) for rate in args.keep_rates.split(",")]
    model = spectrim.load(args.model).with_plan(Plan())
    clips = read_data(args.data).select(args.split, args.fold).clips
    fixed = FixedScore()
    at_stage = {rate: spectrim.prune(model, rate) for rate in rates}
    elsewhere = {rate: spectrim.prune(model, rate, fixed) for rate in rates}
    correct: Counter[tuple[str, float]] = Counter()
    count = 0
    for batch in batches(clips, BATCH_SIZE):
        truth = torch.tensor([model.labels.index(clips[p].labels[0]) for p in batch.positions])
        sounds = [(waveform, model.config.audio.sample_rate) for waveform in batch.waveforms]
        features, valid = model.features(sounds)
        count += len(truth)
        inputs = (features, valid, truth)
        with torch.inference_mode():
            correct["unpruned", 1.0] += correct_count(model, *inputs)
            for rate in rates:
                correct["the block that prunes", rate] += correct_count(at_stage[rate], *inputs)
            for name, fixed.values in rankings(model, features, valid).items():
                for rate in rates:
                    correct[name, rate] += correct_count(elsewhere[rate], *inputs)
    print(f"{args.model}, {count} clips, unpruned {100 * correct['unpruned', 1.0] / count:.1f} %")
    print("| attention of | " + " | ".join(map(str, rates)) + " |")
    print("| --- |" + " --- |" * len(rates))
    for name in dict.fromkeys(name for name, _ in correct if name != "unpruned"):
        cells = [f"{100 * correct[name, rate] / count:.1f}" for rate in rates]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
