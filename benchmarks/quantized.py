"""Accuracy cost of int8: metric and agreement with float32, dynamic and calibrated.

    python benchmarks/quantized.py MODEL --data A.csv B.csv --calibrate TRAIN.csv [--fold 5]

Exports each keep rate in float32 and both kinds of int8, and sweeps these files. A manifest with
splits is evaluated on "test", and calibration uses the other clips. With --fold, a manifest with
folds is evaluated on that fold and calibrated on the others. Prints the table of
results/speed/epyc.md. Measure time with `spectrim bench --quantize none,int8`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import spectrim
from spectrim.common.files import save_json
from spectrim.data.batches import batches
from spectrim.data.clip import Clip
from spectrim.data.manifest import Manifest, read_data
from spectrim.evaluation.sweep import sweep
from spectrim.evaluation.variants import Variant
from spectrim.models.provenance import versions

CALIBRATION = 128  # clips, evenly chosen
KINDS = {"none": "float32", "int8 dynamic": "int8 dynamic", "int8 static": "int8 static"}


def held_out(manifest: Manifest, fold: str | None) -> Manifest:
    """The clips of the fold or of split "test"; all clips if the manifest has neither."""
    if fold is not None and any(clip.fold for clip in manifest.clips):
        return manifest.select(fold=fold)
    there = any(clip.split == "test" for clip in manifest.clips)
    return manifest.select("test") if there else manifest


def to_calibrate(manifest: Manifest, fold: str | None) -> list[Clip]:
    """At most `CALIBRATION` evenly spaced clips that are not held out."""
    out = {id(clip) for clip in held_out(manifest, fold).clips}
    clips = [clip for clip in manifest.clips if id(clip) not in out] or list(manifest.clips)
    return clips[:: -(-len(clips) // CALIBRATION)]


def main() -> None:
    """Export, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--keep-rate", type=float, nargs="+", default=[1.0, 0.7, 0.5])
    parser.add_argument("--fold", help="held out, where a manifest has folds")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = spectrim.load(args.model)
    clips = to_calibrate(read_data(args.calibrate), args.fold)
    calibration = [batch.waveforms for batch in batches(clips, 8) if batch.waveforms]
    rows = []
    print("| data | keep rate | precision | metric | same top class | mean change of probability |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for rate in args.keep_rate:
            pruned = spectrim.prune(model, rate)
            files = []
            for kind in KINDS:
                path = Path(folder) / f"{rate}-{kind.replace(' ', '-')}.onnx"
                spectrim.export(
                    pruned,
                    path,
                    quantize=None if kind == "none" else "int8",
                    calibration=calibration if kind == "int8 static" else None,
                )
                files.append(Variant(kind, spectrim.load_onnx(path, args.backend, args.threads)))
            for source in args.data:
                manifest = held_out(read_data(source), args.fold)
                for row in sweep(files, manifest, rounds=1).rows:
                    rows.append(row | {"data": str(source), "model": args.model})
                    print(
                        f"| {source.stem}, {row['clips']} clips | {rate} | {KINDS[row['model']]} | "
                        f"{row['metric']} {row['value']:.3f} | "
                        f"{row['agreement']['top1']['value']:.1%} | "
                        f"{row['agreement']['change']['value']:.4f} |",
                        flush=True,
                    )
    if args.out:
        record = {"rows": rows, "calibrated_on": len(clips), "versions": versions(args.backend)}
        save_json(args.out, record)


if __name__ == "__main__":
    main()
