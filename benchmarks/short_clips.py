r"""Accuracy and MACs of a model on short clips: padded, with fewer frames, and without padding.

    python benchmarks/short_clips.py ast-digits --data manifests/fsdd-digit.csv --split test
    python benchmarks/short_clips.py ast-esc50 --data manifests/esc50-shareable.csv --fold 5 \
        --seconds 2.5

Prints rows of the table in docs/deploy.md. --seconds uses the first part of each clip.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import spectrim
from spectrim.common.markdown import table
from spectrim.data.cache import Waveforms
from spectrim.data.manifest import read_data
from spectrim.deploy.by_length import ByLength, length_of_most, shorter_length
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.sweep import truth_of
from spectrim.models.lengths import lengths_of

RATE, BATCH = 16_000, 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--fold")
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    model = spectrim.load(args.model)
    manifest = read_data(args.data).select(args.split, args.fold)
    config = model.config
    seconds = args.seconds or config.seconds_to_read
    clips = Waveforms(manifest.clips, seconds=seconds, rate=config.sample_rate)
    waveforms = [clips[position] for position in range(len(clips))]
    counts: dict[float, int] = {}
    for waveform in waveforms:
        seconds = len(waveform) / RATE
        counts[seconds] = counts.get(seconds, 0) + 1
    shorter = shorter_length(model, length_of_most(counts))
    if shorter is None:
        raise SystemExit("a shorter length saves little on these clips")
    frames, work = shorter
    several = model.with_plan(model.plan)
    several.set_lengths(lengths_of(model.config))
    automatic = ByLength(several)
    mean_macs = float(np.mean([automatic.macs_of(waveform) for waveform in waveforms]))
    runners = {
        "padded": (TorchRunner(model), 1.0),
        f"--frames {frames}": (TorchRunner(model.adapted(frames)), work),
        "--frames auto": (automatic, mean_macs / automatic.macs),
    }
    dropping = TorchRunner(model.with_plan(replace(model.plan, drop_padding=True)))
    macs = [dropping.predict(dropping.shared_inputs([w])).macs for w in waveforms]
    runners["--drop-padding"] = (dropping, float(np.mean(macs)) / dropping.macs)
    truth = truth_of(manifest, list(model.labels), model.config.metric)
    padded, rows = None, []
    for name, (runner, part) in runners.items():
        batches = range(0, len(waveforms), BATCH)
        outputs = [runner.probabilities(waveforms[start : start + BATCH]) for start in batches]
        top = np.concatenate(outputs).argmax(1)
        padded = top if padded is None else padded
        accuracy = (top == truth.argmax(1)).mean()
        rows.append([name, f"{part:.0%}", f"{(top == padded).mean():.1%}", f"{accuracy:.1%}"])
    print(f"{args.model}, {len(waveforms)} clips")
    print(table(rows, ["window", "MACs", "same top class", "accuracy"]))


if __name__ == "__main__":
    main()
