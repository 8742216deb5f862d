"""README's speed table: AST-base from sound files to tags, against transformers, in one run.

    python benchmarks/readme_numbers.py --out results/speed/readme-numbers.json --page README.md

The models have random weights, because time does not depend on them. The shape is the published
AST's: stride 10, 1024 frames, 1212 patches. Each candidate does what its user does: decode a
44.1 kHz FLAC file, resample it to 16 kHz, compute features, run the model, take the five most
probable labels. Clips are ESC-10's where SPECTRIM_DATA holds them, else noise.

Every round runs all candidates once on one clip, in an order that rotates. Times are medians over
rounds. Speed-ups are medians of the ratios within a round. CPU seconds count all threads of the
process. The run stops after --minutes, exports included. --page writes the table between the
marks <!-- measured: readme_numbers --> and <!-- end --> of a Markdown page.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrim
from fill_page import filled
from spectrim.audio.decode import read
from spectrim.common.files import save_json, save_text
from spectrim.common.markdown import table
from spectrim.common.versions import processor
from spectrim.evaluation.bench.transformers_ast import Transformers
from spectrim.models.provenance import versions
from tagging import CORPUS, write_clips

LONG, SHORT = 1024, 512  # frames of 10 ms: the published AST's window, and that of a 5 s clip
HEADER = ["", "5 s clip: CPU s", "wall ms", "speed-up", "10 s clip: CPU s", "wall ms", "speed-up"]
LENGTHS = (5, 10)  # seconds


@dataclass(frozen=True)
class Candidate:
    """A row of the table: its name, and what tags a file of 5 or 10 s (None: no such cell)."""

    name: str
    calls: dict[int, Callable[[Path], object]]


def candidates(
    preset: str, stride: int, keep_rate: float, threads: int, folder: Path
) -> tuple[list[Candidate], str]:
    """The rows in the table's order; and what describes the transformers model."""
    full = spectrim.create(preset, frames=LONG, stride=stride)
    short = spectrim.create(preset, frames=SHORT, stride=stride)
    reference = Transformers(full)

    def transformers(file: Path) -> object:
        values: Any = reference.call([read(file)])()
        return np.argsort(values, axis=1)[:, -5:]

    def tagger(model: Any) -> Callable[[Path], object]:
        return lambda file: spectrim.tag(model, file, batch_size=1, top=5)

    def int8(model: Any, name: str) -> Callable[[Path], object]:
        path = folder / f"{name}.onnx"
        spectrim.export(model, path, quantize="int8")
        return tagger(spectrim.load_onnx(path, "onnxruntime", threads))

    pruned, pruned_short = spectrim.prune(full, keep_rate), spectrim.prune(short, keep_rate)
    rows = [
        Candidate("transformers", {5: transformers, 10: transformers}),
        Candidate("Spectrim, unpruned", dict.fromkeys(LENGTHS, tagger(full))),
        Candidate(f"keep rate {keep_rate:g}", dict.fromkeys(LENGTHS, tagger(pruned))),
        Candidate(f"keep rate {keep_rate:g}, `frames=512`", {5: tagger(pruned_short)}),
        Candidate(
            "int8 ONNX, unpruned",
            {5: int8(short, "short-full"), 10: int8(full, "long-full")},
        ),
        Candidate(
            f"int8 ONNX, keep rate {keep_rate:g}",
            {5: int8(pruned_short, "short-pruned"), 10: int8(pruned, "long-pruned")},
        ),
    ]
    return rows, reference.description


def measure(
    rows: list[Candidate], files: dict[int, list[Path]], rounds: int, deadline: float
) -> list[dict[str, Any]]:
    """One dictionary for each row and length, with medians over the rounds."""
    cells = [(row, seconds) for seconds in LENGTHS for row in rows if seconds in row.calls]
    wall: dict[tuple[str, int], list[float]] = {(row.name, s): [] for row, s in cells}
    cpu: dict[tuple[str, int], list[float]] = {(row.name, s): [] for row, s in cells}
    for row, seconds in cells:
        row.calls[seconds](files[seconds][0])  # warm up
    for number in range(rounds):
        if number >= 3 and time.monotonic() > deadline:
            break
        start = number % len(cells)
        for row, seconds in cells[start:] + cells[:start]:
            file = files[seconds][number % len(files[seconds])]
            before, cpu_before = time.perf_counter(), time.process_time()
            row.calls[seconds](file)
            wall[row.name, seconds].append(time.perf_counter() - before)
            cpu[row.name, seconds].append(time.process_time() - cpu_before)
        print(f"round {number + 1}", flush=True)
    result = []
    for row, seconds in cells:
        times = wall[row.name, seconds]
        pairs = zip(wall[rows[0].name, seconds], times, strict=True)
        ratios = [reference / candidate for reference, candidate in pairs]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        result.append(
            {
                "name": row.name,
                "clip_seconds": seconds,
                "cpu_seconds": statistics.median(cpu[row.name, seconds]),
                "wall_ms": statistics.median(times) * 1000,
                "speedup": statistics.median(ratios),
                "quartiles": [low, high],
                "rounds": len(times),
            }
        )
    return result


def markdown(record: dict[str, Any]) -> str:
    """The table, and a line that says where it was measured."""
    cells = {(row["name"], row["clip_seconds"]): row for row in record["rows"]}
    lines = []
    for name in dict.fromkeys(row["name"] for row in record["rows"]):
        line = [name]
        for seconds in LENGTHS:
            if row := cells.get((name, seconds)):
                line += [f"{row['cpu_seconds']:.2f}", f"{row['wall_ms']:.0f}"]
                line += [f"{row['speedup']:.1f}x"]
            else:
                line += ["", "", ""]
        lines.append(line)
    rounds = min(row["rounds"] for row in record["rows"])
    return (
        f"{table(lines, HEADER, 'lrrrrrr')}\n\n"
        f"{record['preset']}, stride {record['stride']}, batch 1, {record['threads']} threads, "
        f"{record['processor']}, medians of {rounds} rounds. int8 rows use 512 frames for 5 s "
        "clips."
    )


def described_processor() -> str:
    """The CPU's name, with VNNI where it has it, because int8 speed depends on it."""
    flags = Path("/proc/cpuinfo")
    has_vnni = flags.exists() and re.search(r"\bavx(512)?_vnni\b", flags.read_text())
    return processor() + (" with VNNI" if has_vnni else "")


def main() -> None:
    """Measure, print the table, write JSON and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ast-base")
    parser.add_argument("--stride", type=int, default=10)
    parser.add_argument("--keep-rate", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--minutes", type=float, default=11.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", type=Path, help="fill the marks of this page")
    parser.add_argument("--from-json", type=Path, help="do not measure; take this record")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    if args.from_json:
        record = json.loads(args.from_json.read_text())
    else:
        torch.set_num_threads(args.threads)
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = {seconds: write_clips(folder, seconds, 4) for seconds in LENGTHS}
            rows, description = candidates(
                args.preset, args.stride, args.keep_rate, args.threads, folder
            )
            print("exports done", flush=True)
            measured = measure(rows, files, args.rounds, deadline)
        record = {
            "rows": measured,
            "preset": {"ast-base": "AST-base"}.get(args.preset, args.preset),
            "stride": args.stride,
            "threads": args.threads,
            "processor": described_processor(),
            "reference": description,
            "sound": "ESC-10" if CORPUS.is_dir() else "noise",
            "versions": versions("onnxruntime", "transformers"),
        }
    if args.out:
        save_json(args.out, record)
    text = markdown(record)
    print(text)
    if args.page:
        save_text(args.page, filled(args.page.read_text(), text, "readme_numbers"))


if __name__ == "__main__":
    main()
