"""A runner without torch, whose answers anybody can compute, and the job of tests that are killed.

`python loudness.py FOLDER OUT` runs the job; the environment variable SPECTRIM_STOP_AT ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

from spectrim.deploy.recordings.input_recordings import recordings_of
from spectrim.deploy.recordings.job import Summary, write_table
from spectrim.deploy.recordings.table_layouts import TagTable
from spectrim.deploy.runner import Runner

RATE = 16_000


class Loudness(Runner):
    """Classes "mean" and "peak": their probabilities are the mean and the largest magnitude.

    A window with a magnitude above 1 gives NaN, like a model in float16.
    """

    labels, window, metric, plan, macs = ["mean", "peak"], RATE, "mAP", {"stages": []}, 1
    embedding_width = 3

    def __init__(self) -> None:
        self.batches: list[int] = []

    def probabilities(self, waveforms):
        self.batches.append(len(waveforms))
        values = [[np.abs(w).mean(), np.abs(w).max()] for w in waveforms]
        return np.array([[np.nan] * 2 if v[1] > 1 else v for v in values], np.float32)

    def embeddings(self, waveforms):
        return np.array([[w.min(), w.max(), w.std()] for w in waveforms], np.float32)

    def context(self, name, batch_size):
        return {"model": name, "plan": self.plan, "batch_size": batch_size, "dtype": "float32"}


def write_recordings(folder: Path) -> Path:
    """Recordings of many lengths; two cannot be read, one is damaged, one has a window of NaN."""
    (folder / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)

    def noise(seconds, level=0.1):
        return np.clip(rng.normal(0, level, round(seconds * RATE)), -1, 1)

    lengths = {"a": 0.4, "b/c": 3.7, "b/d": 1.0, "d": 1.005, "g": 0.03, "h": 2.2, "x": 5.0}
    for name, seconds in lengths.items():
        soundfile.write(folder / f"{name}.wav", noise(seconds), RATE, subtype="FLOAT")
    (folder / "e.wav").write_text("no sound")
    soundfile.write(folder / "f.wav", noise(0.01), RATE)
    loud = np.concatenate([noise(1), [1.5], noise(1.4)])
    soundfile.write(folder / "i.wav", loud, RATE, subtype="FLOAT")
    not_finite = np.append(noise(2.6), np.nan)
    soundfile.write(folder / "j.wav", np.append(noise(12), not_finite), RATE, subtype="FLOAT")
    return folder


def run_job(folder: Path, out: Path, **options) -> Summary:
    """The job that `main` runs."""
    runner = options.pop("runner", None) or Loudness()
    table = options.pop("table", None) or TagTable(runner, None, "mix")
    recordings = recordings_of(options.pop("inputs", [folder]))
    options = {"batch_size": 4, "workers": 3} | options
    return write_table(table, recordings, out, model="loudness", **options)


if __name__ == "__main__":
    run_job(Path(sys.argv[1]), Path(sys.argv[2]))
