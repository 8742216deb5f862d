"""Two models pruned by attention on the same clips: accuracies, and their paired differences.

    python benchmarks/two_models.py CONTROL ALIGNED --data manifests/words.csv --split test

Prints rows of a Markdown table: accuracy in percent, and SECOND minus FIRST in points with its 95 %
interval. Used for results/alignment.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import spectrim
from spectrim.data.manifest import read_data, targets_of
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import predict
from spectrim.metrics.intervals import difference_interval

BATCH_SIZE = 64


def main() -> None:
    """Predict once with all plans of both models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--fold")
    parser.add_argument("--keep-rates", default="1.0,0.9,0.7,0.5,0.4")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rates = [float(rate) for rate in args.keep_rates.split(",")]
    models = [spectrim.load(name) for name in (args.first, args.second)]
    manifest = read_data(args.data).select(args.split, args.fold)
    runners = [TorchRunner(spectrim.prune(m, rate).eval()) for m in models for rate in rates]
    predictions = predict(runners, manifest.clips, BATCH_SIZE)
    if predictions.failures:
        raise SystemExit(predictions.failures[0][1])
    truth = np.array(targets_of(manifest, models[0].labels, True, {}))[:, 0]
    right = [np.concatenate(one).argmax(1) == truth for one in predictions.outputs]
    pairs = list(zip(right[: len(rates)], right[len(rates) :], strict=True))
    print(f"| {len(truth)} clips | {' | '.join(map(str, rates))} |")
    print("| --- |" + " --- |" * len(rates))
    for number, name in enumerate((args.first, args.second)):
        cells = [f"{100 * pair[number].mean():.1f}" for pair in pairs]
        print(f"| {name} | {' | '.join(cells)} |")
    differences = [difference_interval(second.astype(float) - first) for first, second in pairs]
    cells = [
        f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        for one in differences
    ]
    print(f"| difference | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
