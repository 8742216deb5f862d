"""Speed of a CPU batch computed at once, in pieces (as shipped), and clip by clip.

python benchmarks/pieces.py [--models ast-base audiomae-base] [--batch 8] [--rounds 7] [--out FILE]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

import spectrim
from spectrim.common.files import save_json
from spectrim.deploy.torch_runner import PATCHES_AT_ONCE, TorchRunner
from spectrim.evaluation.bench.memory import noise
from spectrim.evaluation.timing import interleaved
from spectrim.models.provenance import versions

# Patches computed at a time, for each method.
WAYS = {"the batch at once": 10**9, "in pieces, as shipped": PATCHES_AT_ONCE, "clip by clip": 1}


def main() -> None:
    """Measure presets of random weights on noise, from waveforms to probabilities."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["ast-base", "audiomae-base"])
    parser.add_argument("--keep-rates", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.models:
        model = spectrim.create(name)
        for keep_rate in args.keep_rates:
            pruned = spectrim.prune(model, keep_rate)
            runners = [TorchRunner(pruned, size) for size in WAYS.values()]
            waveforms = noise(args.batch, runners[0].window)
            calls = [partial(runner.probabilities, waveforms) for runner in runners]
            timings = interleaved(calls, args.rounds, 600.0)
            for text, runner, timing in zip(WAYS, runners, timings, strict=True):
                row = {"model": name, "keep_rate": keep_rate, "way": text}
                row |= {"ms_per_clip": timing.seconds / args.batch * 1e3, "speedup": timing.speedup}
                row |= {"quartiles": [timing.low, timing.high], "rounds": timing.rounds}
                row |= {"clips_at_once": runner.clips_at_once if "shipped" in text else None}
                rows.append(row)
                print(f"{name} {keep_rate} {text:22s} {row['ms_per_clip']:7.1f} ms/clip  "
                      f"{timing.speedup:.2f}x vs at once")  # fmt: skip
            if args.out:  # after each, because the whole takes minutes
                record = {"batch": args.batch, "threads": args.threads, "versions": versions()}
                save_json(args.out, {"rows": rows, **record})


if __name__ == "__main__":
    main()
