"""Memory and time of `analyze` and `ablate` against the number of clips: memory must not grow.

The clips are noise of many levels, some of it short. A few files are listed repeatedly.
Each run is a separate process, whose peak memory the system reports.

    python benchmarks/analysis_memory.py --clips 1000,10000 --out results/speed/analysis-memory.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

FILES = 40
RATE = 16_000


def main() -> None:
    """Run every job in a separate process, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default="1000,10000")
    parser.add_argument("--preset", default="ast-tiny")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--jobs", default="analyze,ablate")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        job, folder, clips = args.one.split(",")
        print(json.dumps(one(job, Path(folder), int(clips), args.preset, args.frames)))
        return
    rows = []
    print(f"{'job':8}  {'clips':>7}  {'peak MiB':>9}  {'clips/s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        write_clips(Path(folder), args.frames)
        for job in args.jobs.split(","):
            for clips in args.clips.split(","):
                words = ["--one", f"{job},{folder},{clips}", "--preset", args.preset]
                words += ["--frames", str(args.frames)]
                call = [sys.executable, __file__, *words]
                done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(done.stdout))
                row = rows[-1]
                print(
                    f"{job:8}  {row['clips']:7}  {row['peak_mib']:9.0f}  "
                    f"{row['clips'] / row['seconds']:8.1f}"
                )
    if args.out:
        from spectrim.common.files import save_json

        save_json(args.out, {"rows": rows})


def write_clips(folder: Path, frames: int) -> None:
    """Noise of many levels; every third clip is half as long as the model's window."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        samples = frames * 160 // (2 if number % 3 == 0 else 1) + 400
        level = 10 ** rng.uniform(-4, -0.5)
        envelope = np.linspace(0.01, 1, samples) if number % 2 else 1.0
        soundfile.write(folder / f"{number}.wav", rng.normal(0, level, samples) * envelope, RATE)


def one(job: str, folder: Path, clips: int, preset: str, frames: int) -> dict[str, object]:
    """One job in this process; its peak memory, and seconds without start-up."""
    import torch

    import spectrim
    from spectrim.analysis.ablation.ablate import ablate
    from spectrim.analysis.analyze import AnalysisSettings, analyze
    from spectrim.data.clip import Clip
    from spectrim.data.manifest import Manifest
    from spectrim.models.provenance import versions

    torch.set_num_threads(1)
    torch.manual_seed(0)
    labels = ["a", "b", "c", "d"]
    model = spectrim.create(preset, frames=frames, labels=labels)
    listed = tuple(
        Clip(folder / f"{index % FILES}.wav", (labels[index % 4],), row=index + 2)
        for index in range(clips)
    )
    manifest = Manifest(folder / "clips.csv", listed)
    begin = time.perf_counter()
    if job == "analyze":
        analyze({preset: model}, {"synthetic": manifest}, AnalysisSettings(tau_pruned=True))
    else:
        ablate(model, preset, "synthetic", manifest)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "job": job,
        "model": preset,
        "frames": frames,
        "clips": clips,
        "peak_mib": peak,
        "seconds": seconds,
        "batch_size": 16,
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "dtype": "float32",
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
