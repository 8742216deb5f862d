"""From sound files to tags: Spectrim in each backend against transformers' AST, side by side.

    python benchmarks/tagging.py [--stride 16 10] [--batch 8 1] [--out FILE]

The model is a ViT-B with random weights, on which time does not depend. The files are 44.1 kHz FLAC
with ESC-10 clips if available, otherwise noise. Each candidate runs the whole pipeline: decode,
resample to 16 kHz, filter bank, model, the five most probable labels. Decoding and resampling are
the same for all. For five-second clips, Spectrim's model has 512 frames and transformers' 1024, its
default. With `--torchaudio-kaldi` (see benchmarks/filterbank.py), transformers' extractor uses
torchaudio's Kaldi code, otherwise its numpy fallback. Pairs are interleaved, and speed-ups are
medians of the pairwise ratios.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers.models.audio_spectrogram_transformer import (
    feature_extraction_audio_spectrogram_transformer as extraction,
)

import spectrim
from filterbank import torchaudio_kaldi
from spectrim.audio.decode import read
from spectrim.common.files import save_json
from spectrim.evaluation.bench.machine import matrix_product
from spectrim.evaluation.bench.transformers_ast import Transformers
from spectrim.evaluation.timing import interleaved
from spectrim.models.provenance import versions

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("SPECTRIM_DATA", ROOT.parent / "shared" / "data")) / "ESC-10"
RATE = 44_100  # Hz, of the files
MATMUL_SIZE = 4096


def write_clips(folder: Path, seconds: int, count: int) -> list[Path]:
    """Write FLAC files of `seconds` each: concatenated ESC-10 clips, or noise."""
    sources = sorted(CORPUS.glob("*/*.ogg"))
    rng, paths = np.random.default_rng(0), []
    for index in range(count):
        size = seconds * RATE
        if sources:
            excerpts = [
                soundfile.read(sources[(17 * index + i) % len(sources)])[0] for i in range(3)
            ]
            sound = np.concatenate(excerpts)[:size]
        else:
            sound = rng.normal(0, 0.1, size)
        paths.append(folder / f"{seconds}s-{index}.flac")
        soundfile.write(paths[-1], sound, RATE)
    return paths


def transformers_call(reference: Transformers, files: list[Path]) -> Callable[[], object]:
    """A call that computes the five most probable labels of the files with transformers."""

    def run() -> object:
        values: Any = reference.call([read(file) for file in files])()
        return np.argsort(values, axis=1)[:, -5:]

    return run


def candidates(
    preset: str,
    rate: float,
    stride: int,
    frames: int,
    folder: Path,
    threads: int,
    calibration: list[Path],
) -> tuple[dict[str, Any], float]:
    """Runners by name, as `spectrim.tag` takes them, and GMACs of the model."""
    model = spectrim.create(preset, frames=frames, stride=stride)
    pruned = spectrim.prune(model, rate) if rate < 1 else model
    runners: dict[str, Any] = {"torch": pruned}
    sounds = [[read(file) for file in calibration]]
    for name, quantize, clips in (
        ("onnx", None, None), ("int8", "int8", None), ("int8-static", "int8", sounds)
    ):  # fmt: skip
        path = folder / f"{stride}-{frames}-{rate}-{name}.onnx"
        spectrim.export(pruned, path, quantize=quantize, calibration=clips)
        for backend in ("onnxruntime", "openvino"):
            if name != "int8" or backend == "onnxruntime":  # OpenVINO needs static int8
                runners[f"{backend} {name}"] = spectrim.load_onnx(path, backend, threads)
    return runners, spectrim.macs(pruned) / 1e9


def main() -> None:
    """Measure and print; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ast-base")
    parser.add_argument("--stride", type=int, nargs="+", default=[16, 10])
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 5])
    parser.add_argument("--keep-rate", type=float, nargs="+", default=[0.5])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds a batch size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torchaudio-kaldi", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stride in args.stride:
            reference = Transformers(spectrim.create(args.preset, stride=stride))
            if args.torchaudio_kaldi:
                extraction.ta_kaldi = torchaudio_kaldi(args.torchaudio_kaldi)
                extraction.is_speech_available = lambda: True
                reference.description = reference.description.replace("its numpy", "torchaudio's")
            for seconds in args.seconds:
                files = write_clips(folder, seconds, max(args.batch))
                frames = 1024 if seconds > 5 else 512
                for rate in args.keep_rate:
                    runs, gmacs = candidates(
                        args.preset, rate, stride, frames, folder, args.threads, files
                    )
                    for batch in args.batch:
                        some = files[:batch]
                        calls: list[Callable[[], object]] = [transformers_call(reference, some)]
                        for run in runs.values():
                            calls.append(
                                lambda run=run, some=some, batch=batch: spectrim.tag(
                                    run, some, batch_size=batch, top=5
                                )
                            )
                        calls.append(matrix_product(MATMUL_SIZE))
                        base, *others, product = interleaved(calls, args.rounds, args.budget)
                        machine = MATMUL_SIZE**3 / product.seconds / 1e9
                        setting = {
                            "stride": stride, "seconds": seconds, "frames": frames,
                            "keep_rate": rate, "batch": batch, "gmacs": gmacs, "machine": machine,
                            "rival": reference.description,
                            "rival_ms": base.seconds / batch * 1000,
                        }  # fmt: skip
                        print(f"{setting}", flush=True)
                        for run_name, timing in zip(runs, others, strict=True):
                            row = setting | {
                                "candidate": run_name,
                                "ms": timing.seconds / batch * 1000,
                                "times_as_fast": timing.speedup,
                                "quartiles": [timing.low, timing.high],
                                "pairs": timing.rounds,
                            }
                            rows.append(row)
                            print(
                                f"  {run_name:24s} {row['ms']:7.1f} ms a clip  "
                                f"{timing.speedup:.2f} times ({timing.low:.2f} to "
                                f"{timing.high:.2f}; {timing.rounds} pairs)",
                                flush=True,
                            )
    record = {
        "rows": rows,
        "sound": "ESC-10" if CORPUS.is_dir() else "noise",
        "threads": args.threads,
        "versions": versions("onnxruntime", "openvino", "transformers"),
    }
    if args.out:
        save_json(args.out, record)


if __name__ == "__main__":
    main()
