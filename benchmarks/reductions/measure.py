"""Accuracy and time of every reduction on one model, and the cost of each on ViT-B.

    python benchmarks/reductions/measure.py accuracy MODEL --data MANIFEST --out FILE.json
    python benchmarks/reductions/measure.py export FILE.json --files FOLDER
    python benchmarks/reductions/measure.py time FILE.json --data MANIFEST --files FOLDER
    python benchmarks/reductions/measure.py cost --threads 2 --out FILE.json
    python benchmarks/reductions/measure.py full MODEL --data MANIFEST --out MANIFEST.csv

Accuracy does not depend on the machine, so it may be measured on a busy one; time may not. Every
keep rate is that of keep-top; the other reductions get the plan of nearest MACs, as in `spectrim
sweep`. With `accuracy --recommended`, the rows are keep-top and the model's recommended plan. The
file stores for every clip whether a row is right, which paired intervals need.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrim
from spectrim.audio.front_ends import KALDI
from spectrim.common.files import save_json
from spectrim.data.cache import Waveforms
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data, write_manifest
from spectrim.deploy.onnx_model import OnnxModel
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import predict
from spectrim.evaluation.sweep import truth_of
from spectrim.evaluation.timing import interleaved
from spectrim.models.build import shape_of
from spectrim.models.provenance import versions
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.defaults import DEFAULT_REDUCTION, REDUCTION_NAMES
from spectrim.pruning.matching import comparable_plan
from spectrim.pruning.plan import Plan

KEEP_RATES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
BATCH_SIZES = (1, 8)
LOUD = 40 * np.log(10) / 10  # 40 dB as a difference of log power
FULL = 0.9  # fraction of frames within 40 dB of the loudest, for a clip that fills its window
RECOMMENDED = "recommended"
COST_RATES = (0.6,)  # of keep-top, on ViT-B
COST_MODELS = (("ast-base", 16), ("audiomae-base", 16), ("ast-base", 10), ("audiomae-base", 10))
EXPORTED_RATES = (0.7, 0.5)  # of keep-top, for the rows timed in ONNX Runtime


def plans_of(
    model: SpectrogramTransformer, rates: Sequence[float]
) -> list[tuple[str, float, Plan]]:
    """Reduction, keep-top's keep rate of equal MACs, and plan of every row."""
    shape = shape_of(model.config)
    rows = [("unpruned", 1.0, Plan())]
    for reduction in REDUCTION_NAMES:
        for rate in rates:
            plan = comparable_plan(shape, rate, "attention", reduction=reduction)
            rows.append((reduction, rate, plan))
    return rows


def recommended_plans(model: SpectrogramTransformer) -> list[tuple[str, float, Plan]]:
    """The same for keep-top at every keep rate, and at last the model's recommended plan."""
    rows = [row for row in plans_of(model, KEEP_RATES) if row[0] in ("unpruned", DEFAULT_REDUCTION)]
    return [*rows, (RECOMMENDED, 1.0, model.recommended_plan)]


def plans_in(
    record: dict[str, Any], model: SpectrogramTransformer
) -> list[tuple[str, float, Plan]]:
    """The rows that a file has."""
    is_recommended = record["rows"][-1]["reduction"] == RECOMMENDED
    return recommended_plans(model) if is_recommended else plans_of(model, KEEP_RATES)


def fills_window(model: SpectrogramTransformer, clips: Sequence[Clip]) -> np.ndarray:
    """(clips,) whether a clip has little padding and little silence in the model's window."""
    full, waveforms = [], Waveforms(clips, seconds=model.config.seconds_to_read)
    for position in range(len(clips)):
        features, valid = model.features_from_waveforms([waveforms[position]])
        loudness = features[0, : int(valid[0])].amax(-1) * 2 * model.config.std  # log power
        loud = int((loudness > loudness.max() - LOUD).sum())
        full.append(loud >= FULL * model.config.frames)
    return np.array(full)


def full(args: argparse.Namespace) -> None:
    """A manifest of the clips that fill the model's window."""
    clips = read_data(args.data).select(args.split, args.fold).clips
    chosen = fills_window(spectrim.load(args.model), clips)
    write_manifest(args.out, [clip for clip, is_full in zip(clips, chosen, strict=True) if is_full])


def accuracy(args: argparse.Namespace) -> None:
    """Probabilities of all rows on all clips."""
    torch.set_num_threads(1)
    model = spectrim.load(args.model)
    manifest = read_data(args.data).select(args.split, args.fold)
    rows = recommended_plans(model) if args.recommended else plans_of(model, KEEP_RATES)
    runners = [TorchRunner(spectrim.prune(model, plan=plan).eval()) for _, _, plan in rows]
    predictions = predict(runners, manifest.clips, 16, None, lambda done: None)
    if predictions.failures:
        raise SystemExit(f"unreadable: {predictions.failures[0]}")
    truth = truth_of(manifest, runners[0].labels, runners[0].metric).argmax(1)
    full = fills_window(model, manifest.clips)
    unpruned = np.concatenate(predictions.outputs[0]).argmax(1)
    macs = spectrim.macs(model)
    result: dict[str, Any] = {
        "model": args.title or str(args.model),
        "clips": len(truth),
        "full": packed(full),
        "rows": [],
    }
    for (reduction, rate, plan), outputs, macs_of_clips in zip(
        rows, predictions.outputs, predictions.macs, strict=True
    ):
        top = np.concatenate(outputs).argmax(1)
        result["rows"].append(
            {
                "reduction": reduction,
                "keep_rate": rate,
                "plan": str(plan),
                # The mean over the clips: some reductions keep different numbers of patches.
                "macs": float(np.concatenate(macs_of_clips).mean()) / macs,
                "accuracy": float((top == truth).mean()),
                "correct": packed(top == truth),
                "same": packed(top == unpruned),
            }
        )
    save_json(args.out, result)
    print(args.out)


def packed(flags: np.ndarray) -> str:
    """(clips,) bool as hexadecimal text."""
    return bytes(np.packbits(flags)).hex()


def export_rows(args: argparse.Namespace) -> None:
    """Export the rows of a file that can be exported, at some keep rates; keep what is there."""
    result = json.loads(args.file.read_text(encoding="utf-8"))
    model = spectrim.load(args.model or result["model"])
    for reduction, rate, plan in plans_in(result, model):
        path = exported_path(args.files, args.file, reduction, rate)
        if rate not in (1.0, *EXPORTED_RATES) or path.exists():
            continue
        try:
            spectrim.export(spectrim.prune(model, plan=plan).eval(), path, input="features")
        except spectrim.SpectrimError as error:
            print(f"{reduction}: not exported: {error}")


def exported_path(folder: Path, record: Path, reduction: str, rate: float) -> Path:
    """The ONNX file of a row."""
    return folder / f"{record.stem}-{reduction}-{rate:g}.onnx"


def times(args: argparse.Namespace) -> None:
    """Time the rows of a file, without feature extraction, on real clips.

    Clips matter to reductions that keep different numbers of patches.
    """
    torch.set_num_threads(args.threads)
    result = json.loads(args.file.read_text(encoding="utf-8"))
    model = spectrim.load(args.model or result["model"])
    plans = {(reduction, rate): plan for reduction, rate, plan in plans_in(result, model)}
    rows = result["rows"]
    clips = read_data(args.data).select(args.split, args.fold).clips
    evenly = np.linspace(0, len(clips) - 1, max(BATCH_SIZES)).astype(int)
    chosen = [clips[i] for i in evenly]
    waveforms = list(Waveforms(chosen, seconds=model.config.seconds_to_read))
    runners = [
        TorchRunner(spectrim.prune(model, plan=plans[row["reduction"], row["keep_rate"]]).eval())
        for row in rows
    ]
    exported = {}
    if args.files:
        paths = [
            exported_path(args.files, args.file, row["reduction"], row["keep_rate"]) for row in rows
        ]
        exported = {
            position: OnnxModel(path, threads=args.threads)
            for position, path in enumerate(paths)
            if path.exists()
        }
    for size in BATCH_SIZES:
        inputs = runners[0].shared_inputs(waveforms[:size])
        calls = [partial(call, runner.timed_predict, inputs) for runner in runners]
        store(rows, f"torch-{size}", timings(calls, size, args.rounds))
        if exported:
            features, valid = inputs.features.numpy(), inputs.valid.numpy()
            graphs = [partial(graph.run, features, valid) for graph in exported.values()]
            exported_rows = [rows[position] for position in exported]
            store(exported_rows, f"onnx-{size}", timings(graphs, size, args.rounds))
    result |= {"threads": args.threads, "versions": versions("onnxruntime")}
    save_json(args.file, result)
    print(args.file)


def call(function: Callable[[Any], object], inputs: Any) -> object:
    """Call a function without gradients."""
    with torch.inference_mode():
        return function(inputs)


def timings(
    calls: Sequence[Callable[[], object]], size: int, rounds: int
) -> list[dict[str, float]]:
    """Milliseconds per clip and speed-up over the first call, medians of interleaved pairs."""
    return [
        {"ms": 1000 * timing.seconds / size, "speedup": timing.speedup}
        for timing in interleaved(list(calls), rounds, budget=1e9)
    ]


def store(rows: list[dict[str, Any]], key: str, columns: list[dict[str, float]]) -> None:
    """Add timed columns to rows."""
    for row, column in zip(rows, columns, strict=True):
        row[key] = {name: round(value, 4) for name, value in column.items()}


def cost(args: argparse.Namespace) -> None:
    """Time of the reductions on ViT-B with random weights, at keep-top's MACs.

    Models of other strides that the file has stay in it.
    """
    torch.set_num_threads(args.threads)
    earlier = (
        json.loads(args.out.read_text(encoding="utf-8"))["tables"] if args.out.exists() else []
    )
    tables = [table for table in earlier if table["stride"] not in args.strides]
    for preset, stride in COST_MODELS:
        if stride not in args.strides:
            continue
        model = spectrim.create(preset, frames=1024, stride=stride)
        rows = plans_of(model.eval(), COST_RATES)
        unpruned = spectrim.macs(model)
        runners = [TorchRunner(spectrim.prune(model, plan=plan).eval()) for _, _, plan in rows]
        size = args.batch_size if stride == 16 else max(1, args.batch_size // 2)
        rng = np.random.default_rng(0)
        noise = [
            rng.normal(0, 0.1, KALDI.num_samples(1024)).astype(np.float32) for _ in range(size)
        ]
        inputs = runners[0].shared_inputs(noise)
        calls = [partial(call, runner.timed_predict, inputs) for runner in runners]
        columns = timings(calls, size, args.rounds)
        table = [
            {
                "reduction": reduction,
                "plan": str(plan),
                "macs": spectrim.macs(runner.model) / unpruned,
            }
            | column
            for (reduction, _, plan), runner, column in zip(rows, runners, columns, strict=True)
        ]
        tables.append({"model": preset, "stride": stride, "batch_size": size, "rows": table})
        tables.sort(key=lambda table: -table["stride"])
        save_json(args.out, {"tables": tables, "threads": args.threads, "versions": versions()})
        print(preset)


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose clips: a manifest, and a split or fold of it."""
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--fold")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("accuracy")
    one.add_argument("model")
    one.add_argument("--title", help="Name of the model in the results.")
    one.add_argument(
        "--recommended", action="store_true", help="Keep-top and the model's recommended plan."
    )
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=accuracy)
    export = commands.add_parser("export")
    export.set_defaults(run=export_rows)
    two = commands.add_parser("time")
    two.set_defaults(run=times)
    filling = commands.add_parser("full")
    filling.add_argument("model")
    filling.add_argument("--out", type=Path, required=True)
    filling.set_defaults(run=full)
    for command in (one, two, filling):
        add_clip_options(command)
    for command in (export, two):
        command.add_argument("file", type=Path)
        command.add_argument("--model", help="Folder, where the name in the file is only a title.")
        command.add_argument(
            "--files", type=Path, required=command is export, help="Folder of the ONNX files."
        )
    three = commands.add_parser("cost")
    three.add_argument("--out", type=Path, required=True)
    three.add_argument("--batch-size", type=int, default=8)
    three.add_argument("--strides", type=int, nargs="+", default=[16, 10])
    three.set_defaults(run=cost)
    for command in (two, three):
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
