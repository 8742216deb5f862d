"""Compare the throughput of `spectrim tag FOLDER --out` with decoding alone and the model alone.

    python benchmarks/folders.py [--models ast-base ast-tiny] [--budget 300] [--out FILE]

Each round runs three passes over the same 44.1 kHz FLAC files of ten seconds: the model on windows
that are already decoded (the bare model), the whole job with its table, and decoding in threads
without a model. Rates are windows per second. Ratios are medians over pairs of neighbouring passes.
On a CPU, decoding and the model share the cores, so the combined bound is
1 / (1 / decoding + 1 / model). On a GPU, the bound is the lower of both rates.

Targets: the job reaches 90 % of the bare model with ast-base, and 80 % of the combined bound with
ast-tiny. Names of built-in models load them. Other names are presets with random weights, which do
not change the time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrim
from spectrim.audio.windows import Window
from spectrim.common.files import save_json
from spectrim.common.markdown import table
from spectrim.deploy.recordings.decode_ahead import decoded_ahead, default_workers
from spectrim.deploy.recordings.input_recordings import recordings_of
from spectrim.deploy.recordings.job import BATCHES_AHEAD, write_table
from spectrim.deploy.recordings.table_layouts import TagTable
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.timing import interleaved
from spectrim.models.builtin_models import builtin_names
from spectrim.models.provenance import versions
from tagging import write_clips

ROUNDS = 50  # at most; the budget ends them earlier


@dataclass(frozen=True)
class FolderPasses:
    """The three passes over a folder.

    Attributes:
        runner: the model.
        files: paths of the sound files.
        folder: where the table is written.
        batch_size: windows in a batch.
        workers: decoding threads.
    """

    runner: TorchRunner
    files: Sequence[Path]
    folder: Path
    batch_size: int
    workers: int

    def decode(self) -> list[np.ndarray]:
        """Decode the waveforms of all windows as the job does."""
        items = decoded_ahead(
            recordings_of(self.files),
            self.runner.window,
            self.runner.window,
            "mix",
            self.runner.sample_rate,
            workers=self.workers,
            max_windows=BATCHES_AHEAD * self.batch_size,
        )
        return [item.samples for _, _, item in items if isinstance(item, Window)]

    def compute(self, waveforms: Sequence[np.ndarray]) -> None:
        """Compute the probabilities of windows that are already decoded: the bare model."""
        for start in range(0, len(waveforms), self.batch_size):
            self.runner.probabilities(waveforms[start : start + self.batch_size])

    def job(self) -> None:
        """List, decode, compute and write a new table."""
        out = self.folder / "tags.csv"
        for path in (out, out.with_name("tags.csv.job")):
            path.unlink(missing_ok=True)
        write_table(
            TagTable(self.runner, None, "mix"),
            recordings_of(self.files),
            out,
            model="benchmark",
            batch_size=self.batch_size,
            workers=self.workers,
        )


def measured(passes: FolderPasses, budget: float) -> dict[str, Any]:
    """Measure rates in windows per second, and the fraction of each bound that the job reaches.

    Args:
        budget: seconds after which no round of the three passes starts.
    """
    waveforms = passes.decode()
    model, job, decoding = interleaved(
        [lambda: passes.compute(waveforms), passes.job, passes.decode],
        ROUNDS,
        budget,
        device=passes.runner.device,
    )
    rates = {
        name: len(waveforms) / timing.seconds
        for name, timing in (("decoding", decoding), ("model", model), ("job", job))
    }
    shared = 1 / (1 / rates["decoding"] + 1 / rates["model"])
    is_cpu = passes.runner.model.device.type == "cpu"
    bound = shared if is_cpu else min(rates["decoding"], rates["model"])
    return {
        "windows": len(waveforms),
        **{f"{name}_windows_per_second": rate for name, rate in rates.items()},
        "job_of_model": job.speedup,
        "job_of_model_quartiles": [job.low, job.high],
        "bound_windows_per_second": bound,
        "job_of_bound": rates["job"] / bound,
        "rounds": job.rounds,
    }


def main() -> None:
    """Measure and print; write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["ast-base", "ast-tiny"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--files", type=int, nargs="+", default=[24, 96], help="for each model")
    parser.add_argument("--seconds", type=int, default=10, help="length of a file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--budget", type=float, default=300, help="seconds for all models")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch on a CPU")
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_clips(folder, args.seconds, max(args.files))
        for index, model_name in enumerate(args.models):
            if model_name in builtin_names():
                model = spectrim.load(model_name, device=args.device)
            else:
                model = spectrim.create(model_name, classes=527).to(args.device)
            count = args.files[min(index, len(args.files) - 1)]
            passes = FolderPasses(
                TorchRunner(model.eval()), files[:count], folder, args.batch, args.workers
            )
            left = args.budget - (time.monotonic() - began)
            row = measured(passes, left / (len(args.models) - index))
            rows.append({"model": model_name} | row)
            print(f"{model_name}: {row['rounds']} rounds", flush=True)
    print(_printed(rows))
    if args.out:
        settings = {key: value for key, value in vars(args).items() if key != "out"}
        save_json(args.out, {"rows": rows, "settings": settings, "versions": versions()})


def _printed(rows: Sequence[dict[str, Any]]) -> str:
    header = ["model", "decoding, windows/s", "model, windows/s", "job, windows/s",
              "job of model (quartiles)", "job of combined bound"]  # fmt: skip
    lines = []
    for row in rows:
        rates = [
            f"{row[f'{name}_windows_per_second']:.3g}" for name in ("decoding", "model", "job")
        ]
        low, high = row["job_of_model_quartiles"]
        share = f"{row['job_of_model']:.1%} ({low:.1%} to {high:.1%})"
        lines.append([row["model"], *rates, share, f"{row['job_of_bound']:.1%}"])
    return table(lines, header)


if __name__ == "__main__":
    main()
