"""Training steps on a CPU with freed memory kept in the process, and returned to the kernel.

    python benchmarks/training_memory.py MANIFEST [--frames 128,512,1024] [--batch 64] [--rounds 3]

Each round starts a process for each setting (kept, returned), one after the other, which trains a tiny
AST for five steps after two that are not counted. Prints medians over rounds, and the median ratio of
the pairs. `spectrim.training.allocator` describes the setting.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from training import job, stepper

from spectrim.common.files import save_json
from spectrim.models.provenance import versions
from spectrim.training.allocator import keep_freed_memory

WARM_UP, STEPS = 2, 5


def measure(args: argparse.Namespace) -> None:
    """Train in this process, and print what was measured as JSON."""
    torch.set_num_threads(args.threads)
    if args.setting == "kept":
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        work = job("ast-tiny", 1.0, args, Path(cache))
        step, batch = stepper(work), next(work.loader.epoch(0))
        for _ in range(WARM_UP):
            step(batch)
        faults, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
        for _ in range(STEPS):
            began = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - began)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "step_s": statistics.median(seconds),
                "page_faults_per_step": (usage.ru_minflt - faults) / STEPS,
                "peak_memory_gb": usage.ru_maxrss * 1024 / 1e9,
            }
        )
    )


def compare(args: argparse.Namespace, frames: int) -> list[dict[str, object]]:
    """Rows of both settings at one length, measured in turn."""
    runs: dict[str, list[dict[str, float]]] = {"returned": [], "kept": []}
    for _ in range(args.rounds):
        for setting, measured in runs.items():
            line = [sys.executable, __file__, args.manifest, "--setting", setting]
            line += ["--frames", str(frames), "--batch", str(args.batch)]
            line += ["--threads", str(args.threads)]
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
            measured.append(json.loads(done.stdout.splitlines()[-1]))
    pairs = zip(runs["returned"], runs["kept"], strict=True)
    speedup = statistics.median(one["step_s"] / other["step_s"] for one, other in pairs)
    rows = []
    for setting, measured in runs.items():
        row: dict[str, object] = {"frames": frames, "freed_memory": setting}
        row |= {key: statistics.median(run[key] for run in measured) for key in measured[0]}
        rows.append(row | {"speedup": speedup if setting == "kept" else 1.0})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def main() -> None:
    """Parse, measure in turn, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest")
    parser.add_argument("--frames", default="128,512,1024")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--setting", choices=["kept", "returned"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = "cpu"
    if args.setting:
        args.frames = int(args.frames)
        measure(args)
        return
    rows = [row for frames in args.frames.split(",") for row in compare(args, int(frames))]
    if args.out:
        save_json(args.out, {"versions": versions(), "batch": args.batch, "rows": rows})


if __name__ == "__main__":
    main()
