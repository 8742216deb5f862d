"""Compare the time that `bench`, and the timing of `sweep` and `check`, take with their budgets.

    python benchmarks/budgets.py --out results/speed/budgets.json

Budgets include exports, compilation, loading and warm-ups, and must hold within 20 %. The number of
rounds is so large that only the budget ends a timing. Exports start from an empty cache. Run this
script on an idle machine. It takes about four minutes, and exits with status 1 if a budget does
not hold.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import spectrim
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.common.files import save_json
from spectrim.common.markdown import table
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data
from spectrim.evaluation.bench.bench import bench, num_timings
from spectrim.evaluation.sweep import evaluate, with_times
from spectrim.evaluation.variants import variants_of
from spectrim.models.provenance import versions

ROUNDS = 1_000_000
ALLOWED = 1.2
SIZES = (1, 8)
Row = dict[str, Any]


class Steps:
    """Seconds of each step of a benchmark, by its name; a step ends when the next one begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.name, self.began = "preparation", time.perf_counter()

    def __call__(self, name: str) -> None:
        """Begin a step."""
        now = time.perf_counter()
        self.seconds[self.name] = round(now - self.began, 2)
        self.name, self.began = name, now


def of_bench(preset: str, budget: float, backends: list[str], compile: bool = False) -> Row:
    """Measure `spectrim bench` on a model with random weights."""
    model = spectrim.create(preset, frames=512, classes=50)
    steps, notes = Steps(), []
    allowed = budget * num_timings(model, backends, ["none"], SIZES, None, None, True)
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpectrimNotice)
        try:
            result = bench(
                model, preset, backends=backends, budget=budget, rounds=ROUNDS, compile=compile,
                batch_sizes=SIZES, keep_rates=[1.0, 0.5], matmul_size=2048, steps=steps,
            )  # fmt: skip
        except SpectrimError as error:  # too short for any row
            result, notes = {"rows": []}, [str(error)]
    seconds = time.perf_counter() - began
    steps("end")
    notes += [str(note.message) for note in caught]
    return {
        "command": f"bench {preset}, {' and '.join(backends)}{', compiled' if compile else ''}",
        "budget_s": budget,
        "allowed_s": allowed,
        "seconds": round(seconds, 2),
        "rows": len(result["rows"]),
        "steps": steps.seconds,
        "notes": notes,
    }


def of_timing(budget: float, compile: bool = False) -> Row:
    """Measure the timing of `sweep` and `check`, which follows the evaluation of the clips."""
    model = spectrim.load("ast-digits")
    variants = variants_of(
        model, "ast-digits", [0.9, 0.7, 0.5, 0.4], ["attention", "intensity"], compile=compile
    )
    pack = read_data(sample_pack())
    result = evaluate(variants, pack)
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpectrimNotice)
        timed = with_times(result, variants, pack, budget=budget, rounds=ROUNDS)
    return {
        "command": f"timing of sweep and check, ast-digits{', compiled' if compile else ''}",
        "budget_s": budget,
        "allowed_s": budget,
        "seconds": round(time.perf_counter() - began, 2),
        "rows": sum(row["timing_rounds"] > 0 for row in timed.rows),
        "notes": [str(note.message) for note in caught],
    }


CASES: tuple[Callable[[], Row], ...] = (
    lambda: of_timing(2.0),
    lambda: of_timing(15.0),
    lambda: of_timing(40.0, compile=True),
    lambda: of_bench("ast-tiny", 8.0, ["torch", "onnxruntime"]),
    lambda: of_bench("ast-base", 6.0, ["onnxruntime"]),  # too short for an export
    lambda: of_bench("ast-tiny", 16.0, ["torch"], compile=True),
    lambda: of_bench("ast-base", 8.0, ["torch"], compile=True),  # too short for a compilation
)


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("budgets.json"))
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SPECTRIM_CACHE"] = cache
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache) / "inductor")
        for case in CASES:
            row = case()
            row["holds"] = row["seconds"] <= ALLOWED * row["allowed_s"]
            rows.append(row)
            print(f"{row['command']}: {row['seconds']:.1f} of {row['allowed_s']:g} s", flush=True)
    columns = ("command", "budget_s", "allowed_s", "seconds", "rows", "holds")
    print(table([[row[name] for name in columns] for row in rows], columns))
    threads = torch.get_num_threads()
    record = {"rows": rows, "threads": threads, "versions": versions()}
    print(save_json(args.out, record))
    if not all(row["holds"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
