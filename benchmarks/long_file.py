"""Memory while a long file is tagged: constant, independent of its length.

    python benchmarks/long_file.py [--hours 10] [--model ast-base] [--keep-rate 0.5] [--out FILE]

Writes a file of concatenated ESC-10 clips (or noise) and runs `spectrim tag` on it in a separate
process. Samples that process's memory (VmRSS) while it runs. A preset gets random weights.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import spectrim
from spectrim.audio.decode import read
from spectrim.common.files import save_json
from spectrim.models.presets import PRESETS
from spectrim.models.provenance import versions

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("SPECTRIM_DATA", ROOT.parent / "shared" / "data")) / "ESC-10"


def write_long(path: Path, hours: float) -> None:
    """Write a 16 kHz WAV file of `hours` hours."""
    clips = [read(file) for file in sorted(CORPUS.glob("*/*.ogg"))[:200]]
    clips = clips or [np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)]
    left = round(hours * 3600 * 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16", format="RF64") as file:
        for number in range(10**9):
            if left <= 0:
                return
            file.write(clips[number % len(clips)][:left])
            left -= len(clips[number % len(clips)])


def resident(pid: int) -> float | None:
    """Resident memory of a process in MB; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) / 1024 if lines else None


def main() -> None:
    """Tag, watch, print; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--model", default="ast-base")
    parser.add_argument("--keep-rate", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model
        if model in PRESETS:
            model = str(spectrim.create(model).save(folder / model))
        write_long(folder / "long.wav", args.hours)
        command = [sys.executable, "-m", "spectrim", "tag", str(folder / "long.wav")]
        command += ["--model", model, "--keep-rate", str(args.keep_rate)]
        command += ["--threads", str(args.threads), "--format", "json"]
        samples: list[tuple[float, float]] = []
        began = time.monotonic()
        with (folder / "rows.json").open("w") as rows:
            process = subprocess.Popen(command, stdout=rows, stderr=subprocess.DEVNULL)
            while process.poll() is None:
                if (memory := resident(process.pid)) is not None:
                    samples.append((round(time.monotonic() - began, 1), round(memory, 1)))
                time.sleep(2)
        seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"spectrim tag ended with {process.returncode}")
    # The first tenth includes loading and warm-up. Memory should be constant after it.
    settled = [value for time_s, value in samples if time_s > seconds / 10]
    third = len(settled) // 3
    record = {
        "hours": args.hours, "model": args.model, "keep_rate": args.keep_rate, "seconds": seconds,
        "peak_mb": max(value for _, value in samples),
        "median_mb_first_third": float(np.median(settled[:third])),
        "median_mb_last_third": float(np.median(settled[-third:])),
        "samples": samples[:: max(1, len(samples) // 100)],
        "threads": args.threads, "versions": versions(),
    }  # fmt: skip
    for key in ("hours", "seconds", "peak_mb", "median_mb_first_third", "median_mb_last_third"):
        print(f"{key}: {record[key]:.1f}")
    if args.out:
        save_json(args.out, record)


if __name__ == "__main__":
    main()
