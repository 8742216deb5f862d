"""Speed-up against MAC ratio of a pruned ViT-B, compared with the unpruned one and transformers.

    python benchmarks/forward.py [--stride 16 10] [--batch 8] [--rounds 10] [--out FILE]

Pairs are interleaved in one process, and speed-ups are medians of the pairwise ratios. Features are
computed beforehand, from ESC-10 clips if available, otherwise from noise; time does not depend on
them. Both programs run the same random weights.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import ASTConfig, ASTForAudioClassification

import spectrim
from spectrim.common.files import save_json
from spectrim.evaluation.timing import interleaved
from spectrim.models.config import AUDIOSET_MEAN, AUDIOSET_STD
from spectrim.models.provenance import versions

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("SPECTRIM_DATA", ROOT.parent / "shared" / "data")) / "ESC-10"


def features(model: torch.nn.Module, batch: int) -> tuple[torch.Tensor, torch.Tensor, str]:
    """One batch of ten-second sounds: two five-second clips of ESC-10 each, or noise."""
    files = sorted(CORPUS.glob("*/*.ogg"))[:: 400 // (2 * batch)]
    if files:
        from spectrim.audio.decode import read

        clips = [read(file) for file in files]
        sounds = [np.concatenate(clips[2 * i : 2 * i + 2]) for i in range(batch)]
        return *model.features_from_waveforms(sounds), "ESC-10"
    noise = np.random.default_rng(0).normal(0, 0.1, (batch, 160_000)).astype(np.float32)
    return *model.features_from_waveforms(list(noise)), "noise"


def pair(
    name: str, first: Callable[[], object], second: Callable[[], object], rounds: int, budget: float
) -> dict[str, object]:
    """Time two interleaved calls and print their ratio."""
    with torch.inference_mode():
        base, other = interleaved([first, second], rounds, budget, least=5)
    row = {
        "pair": name,
        "first_s": base.seconds,
        "second_s": other.seconds,
        "ratio": other.speedup,
        "pairs": other.rounds,
    }
    print(
        f"{name:62s} {base.seconds:7.2f} s {other.seconds:7.2f} s  ratio {other.speedup:.3f}"
        f"  ({other.rounds} pairs)",
        flush=True,
    )
    return row


def main() -> None:
    """Measure and print; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, nargs="+", default=[16, 10])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--keep-rate", type=float, nargs="+", default=[0.5])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=150.0, help="seconds a pair")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    print(versions())
    for stride in args.stride:
        hf = ASTForAudioClassification(
            ASTConfig(frequency_stride=stride, time_stride=stride, num_labels=527),
        ).eval()
        models = {
            "AST": spectrim.from_transformers(
                hf, mean=AUDIOSET_MEAN, std=AUDIOSET_STD, padding="zero"
            ),
            "AudioMAE": spectrim.create("audiomae-base", stride=stride),
        }
        x, valid, source = features(models["AST"], args.batch)
        where = f"stride {stride}, batch {args.batch}"
        for family, model in models.items():
            for rate in args.keep_rate:
                pruned = spectrim.prune(model, rate)
                work = spectrim.macs(model) / spectrim.macs(pruned)
                row = pair(
                    f"{family} unpruned / keep rate {rate}, {where} (MACs {work:.2f})",
                    partial(model, x, valid),
                    partial(pruned, x, valid),
                    args.rounds,
                    args.budget,
                )
                rows.append(row | {"mac_ratio": work, "stride": stride, "batch": args.batch})
        ours = models["AST"]
        gap = float((hf(x).logits - ours(x)).detach().abs().max())
        row = pair(
            f"transformers {hf.config._attn_implementation} / AST unpruned, {where}",
            partial(hf, x),
            partial(ours, x, valid),
            args.rounds,
            args.budget,
        )
        rows.append(row | {"logits_differ_by": gap, "stride": stride, "batch": args.batch})
    record = {
        "rows": rows,
        "sound": source,
        "threads": args.threads,
        "versions": versions() | {"transformers": transformers.__version__},
    }
    if args.out:
        save_json(args.out, record)


if __name__ == "__main__":
    main()
