"""Throughput of `spectrim tag FOLDER --out`, beside decoding alone and the model alone.

    python benchmarks/folders.py [--model ast-base] [--files 64] [--batch 8] [--out FILE]

Three passes over the same 44.1 kHz FLAC files, in turns: decoding in threads without a model, the
model on windows that are already decoded, and the whole job with its table. A rate is windows per
second. If decoding and the model share the cores, the combined bound is 1 / (1 / decoding + 1 /
model). If they do not, as with a GPU, the bound is the lower of both rates.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrim
from spectrim.common.files import save_json
from spectrim.deploy.recordings.decode_ahead import decoded_ahead, default_workers
from spectrim.deploy.recordings.inputs import recordings_of
from spectrim.deploy.recordings.job import BATCHES_AHEAD, write_table
from spectrim.deploy.recordings.tables import TagTable
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.models.builtin import builtin_names
from spectrim.models.provenance import versions
from tagging import write_clips


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ast-base")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10, help="length of a file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch on a CPU")
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.model in builtin_names():
        model = spectrim.load(args.model, device=args.device)
    else:
        model = spectrim.create(args.model, labels=527).to(args.device)
    runner = TorchRunner(model.eval())
    table = TagTable(runner, None, "mix")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = recordings_of(map(str, write_clips(folder, args.seconds, args.files)))

        def decode() -> list[np.ndarray]:
            items = decoded_ahead(
                recordings,
                runner.window,
                runner.window,
                "mix",
                workers=args.workers,
                max_windows=BATCHES_AHEAD * args.batch,
            )
            return [item.samples for _, _, item in items if hasattr(item, "samples")]

        def compute() -> None:
            for start in range(0, len(waveforms), args.batch):
                runner.probabilities(waveforms[start : start + args.batch])

        def job() -> None:
            out = folder / "tags.csv"
            for path in (out, folder / "tags.csv.job"):
                path.unlink(missing_ok=True)
            write_table(
                runner,
                table,
                recordings,
                out,
                model=args.model,
                batch_size=args.batch,
                workers=args.workers,
            )

        waveforms = decode()
        calls: dict[str, Callable[[], object]] = {"decoding": decode, "model": compute, "job": job}
        for call in calls.values():  # warm up
            call()
        times: dict[str, list[float]] = {key: [] for key in calls}
        for _ in range(args.rounds):
            for key, call in calls.items():
                times[key].append(seconds_of(call))
    rates = {key: len(waveforms) / statistics.median(values) for key, values in times.items()}
    shared = 1 / (1 / rates["decoding"] + 1 / rates["model"])
    row: dict[str, Any] = vars(args) | {"out": None, "windows": len(waveforms)}
    row |= {f"{key}_windows_per_second": rate for key, rate in rates.items()}
    row["job_of_model"] = rates["job"] / rates["model"]
    row["job_of_shared_bound"] = rates["job"] / shared
    for key, value in row.items():
        print(f"{key}: {value:.3g}" if isinstance(value, float) else f"{key}: {value}")
    if args.out:
        save_json(args.out, {"rows": [row], "versions": versions()})


if __name__ == "__main__":
    main()
