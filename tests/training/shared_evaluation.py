"""Run by the processes that a launcher starts: evaluate clips together, write what each got."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import spectrim
from spectrim.data.manifest import read_data
from spectrim.training.engine import engine
from spectrim.training.evaluate import evaluate_model
from spectrim.training.recipe import RunPart


def main(manifest: str, out: str) -> None:
    accelerator = engine(RunPart(device="cpu"))
    model = spectrim.load("ast-digits")
    clips = read_data(manifest).clips
    targets = [[at % 2, 5] if at % 3 else [at % 7] for at in range(len(clips))]
    found = evaluate_model(
        accelerator, model, clips, targets, name="mAP", batch_size=2, cache=None, seconds=1.4
    )
    np.savez(
        Path(out) / f"{accelerator.num_processes}-{accelerator.process_index}.npz",
        positions=found.positions,
        logits=found.logits,
        value=found.value,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
