"""Which reductions drop one of two sounds, on scenes with known places.

    python benchmarks/reductions/two_sounds.py MODEL --data MANIFEST --fold FOLD --out FILE.json

A scene is the loudest part of a clip, then the loudest part of a clip of another class, half a
window each, at levels that differ by up to 5 dB. Every reduction gets the plan of keep-top's MACs,
as in `measure.py`. The last row merges in the first four blocks, at 0.41 of the MACs. The file has
one row for each reduction and keep rate:

    both: fraction of scenes whose two classes are the two most probable ones.
    weaker_share: mean fraction of the last tokens that belong to the sound with fewer of them.
    nearly_dropped: fraction of scenes in which that sound has less than a tenth of the tokens.

A merged token belongs to a sound by the fraction of its patches that lie in the sound's half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from measure import add_clip_options, plans_of

import spectrim
from spectrim.common.files import save_json
from spectrim.data.cache import Waveforms
from spectrim.data.manifest import read_data
from spectrim.evaluation.sweep import truth_of
from spectrim.models.provenance import versions
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.tokens import Tokens

KEEP_RATES = (0.7, 0.5)
EARLY_RATE, EARLY_BLOCKS = 0.774, (0, 1, 2, 3)  # merging at the start, at 0.41 of the MACs
PARTNERS = 3  # scenes for each clip
LEVELS = (-5.0, 5.0)  # dB of the second sound over the first
TENTH = 0.1
BATCH_SIZE = 16


def loudest(waveform: np.ndarray, samples: int) -> np.ndarray:
    """(samples,) the part of a waveform with the most energy, at RMS 0.1."""
    padded = np.pad(waveform, (0, max(0, samples - len(waveform))))
    energy = np.concatenate([[0.0], np.cumsum(padded.astype(np.float64) ** 2)])
    start = int((energy[samples:] - energy[:-samples]).argmax())
    part = padded[start : start + samples]
    return 0.1 * part / max(1e-9, float(np.sqrt((part**2).mean())))


def scenes(
    waveforms: Waveforms, classes: np.ndarray, samples: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Waveforms (2 * samples,), and the classes (scenes, 2) of the first and the second sound."""
    rng = np.random.default_rng(seed)
    sounds = [loudest(waveform, samples) for waveform in waveforms]
    mixed, pairs = [], []
    for first, sound in enumerate(sounds):
        others = np.flatnonzero(classes != classes[first])
        for second in rng.choice(others, PARTNERS, replace=False):
            gain = 10 ** (rng.uniform(*LEVELS) / 20)
            mixed.append(np.concatenate([sound, gain * sounds[second]]).astype(np.float32))
            pairs.append((classes[first], classes[second]))
    return mixed, np.array(pairs)


def shares(tokens: Tokens, in_second: torch.Tensor) -> np.ndarray:
    """(batch,) fraction of the tokens that belong to the sound with fewer of them.

    Args:
        in_second: (patches,) bool, whether a patch of the grid lies in the second half.
    """
    holders = tokens.holders(len(in_second))  # (batch, patches), -1: dropped
    result = []
    for row in holders:
        is_held = row >= 0
        patches_of_token = torch.bincount(row[is_held], minlength=tokens.count).double()
        in_second_half = torch.bincount(row[is_held & in_second], minlength=tokens.count).double()
        is_used = patches_of_token > 0
        second = (in_second_half[is_used] / patches_of_token[is_used]).mean().item()
        result.append(min(second, 1 - second))
    return np.array(result)


@torch.inference_mode()
def measured(
    model: SpectrogramTransformer, mixed: list[np.ndarray], pairs: np.ndarray
) -> dict[str, float]:
    """The columns of one row."""
    grid = model.grid
    columns = grid.locate(torch.arange(grid.count))[:, 0]
    in_second = columns >= grid.columns / 2
    both, weaker = [], []
    for start in range(0, len(mixed), BATCH_SIZE):
        features, valid = model.features_from_waveforms(mixed[start : start + BATCH_SIZE])
        tokens = model.encode(features, valid)
        top = model.head(model.pool(tokens)).topk(2, dim=1).indices.numpy()
        both.append((np.sort(top, 1) == np.sort(pairs[start : start + len(top)], 1)).all(1))
        weaker.append(shares(tokens, in_second))
    share = np.concatenate(weaker)
    return {
        "both": float(np.concatenate(both).mean()),
        "weaker_share": float(share.mean()),
        "nearly_dropped": float((share < TENTH).mean()),
    }


def main() -> None:
    """Parse, build the scenes and measure every reduction."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    add_clip_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = spectrim.load(args.model)
    manifest = read_data(args.data).select(args.split, args.fold)
    classes = truth_of(manifest, model.config.labels, "accuracy").argmax(1)
    waveforms = Waveforms(manifest.clips, seconds=model.config.seconds_to_read)
    half = model.config.window_samples // 2
    mixed, pairs = scenes(waveforms, classes, half, seed=0)
    unpruned_macs = spectrim.macs(model)
    rows = []
    early = spectrim.prune(model, EARLY_RATE, reduction="tome", blocks=EARLY_BLOCKS).plan
    for reduction, rate, plan in [*plans_of(model, KEEP_RATES), ("tome", EARLY_RATE, early)]:
        pruned = spectrim.prune(model, plan=plan).eval()
        row = {"reduction": reduction, "keep_rate": rate, "plan": str(plan)}
        row["macs"] = spectrim.macs(pruned) / unpruned_macs
        rows.append(row | measured(pruned, mixed, pairs))
        print(rows[-1], flush=True)
    save_json(
        args.out,
        {"model": args.model, "scenes": len(mixed), "rows": rows, "versions": versions()},
    )


if __name__ == "__main__":
    main()
