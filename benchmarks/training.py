"""Speed of training steps with pruning, and throughput of the data loader.

    python benchmarks/training.py MANIFEST [--frames 512] [--batch 8] [--rounds 10] [--out FILE]

Times whole training steps of ViT-B (features on the device, forward, backward, AdamW) at keep rates
0.5 and 0.7 against 1.0. Pairs are interleaved in one process, and speed-ups are medians of the
pairwise ratios. Then measures the loader in clips/s: decoded for the first time, cached on disk,
and held in memory; with augmented waveforms, with features, and with a tiny and a base model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from spectrim.common.files import save_json
from spectrim.data.loader import TrainBatch
from spectrim.evaluation.timing import interleaved
from spectrim.models.build import macs
from spectrim.models.provenance import versions
from spectrim.training.engine import engine
from spectrim.training.jobs import Supervision
from spectrim.training.loop import backward
from spectrim.training.optim import optimiser, parameter_groups, set_lr
from spectrim.training.recipe import AugmentPart, DataPart, ModelPart, OptimPart, Recipe, RunPart
from spectrim.training.task import resolve_task

AUGMENT = AugmentPart(roll=True, gain=True, mixup=0.5, spec_time=96, spec_frequency=24, noise=0.1)


def job(preset: str, keep_rate: float, args: argparse.Namespace, cache: Path) -> Supervision:
    """The objects of a training run, at the end of its keep rate schedule."""
    recipe = Recipe(
        keep_rate=keep_rate,
        model=ModelPart(preset=preset, frames=args.frames, mean=-6.6, std=5.4),
        data=DataPart(manifest=args.manifest, workers=2),
        augment=AUGMENT,
        optim=OptimPart(lr=1e-5, batch_size=args.batch),
        run=RunPart(device=args.device),
    )
    return Supervision(recipe, resolve_task(recipe), cache)


def stepper(work: Supervision, now: float = 0.0) -> Callable[[TrainBatch], None]:
    """A function that runs one training step on a batch; `now`: epochs already done."""
    accelerator = engine(work.run)
    groups = parameter_groups(work.objective, work.model.config.depth, work.optim)
    optim = optimiser(groups, work.optim)
    work.objective.to(accelerator.device).train()
    objective, wrapped = accelerator.prepare(work.objective, optim)
    set_lr(optim, 1e-5)

    def step(batch: TrainBatch) -> None:
        backward(accelerator, objective, work, batch, now)
        wrapped.step()
        wrapped.zero_grad()

    return step


def steps(preset: str, args: argparse.Namespace, cache: Path) -> list[dict[str, object]]:
    """Pruned against unpruned steps."""
    works = [job(preset, rate, args, cache) for rate in (1.0, 0.7, 0.5)]
    calls = [partial(stepper(work, now=1e9), next(work.loader.epoch(0))) for work in works]
    device = works[0].model.device
    timings = interleaved(calls, args.rounds, args.budget, least=3, device=device)
    rows = []
    for work, timing in zip(works, timings, strict=True):
        rows.append(
            {
                "model": preset,
                "keep_rate": work.final_keep_rate,
                "steps_per_s": 1 / timing.seconds,
                "speedup": timing.speedup,
                "mac_ratio": macs(works[0].model) / macs(work.model),
                "pairs": timing.rounds,
            }
        )
        print(
            f"{preset:14s} keep rate {work.final_keep_rate}: {1 / timing.seconds:.3f} steps/s, "
            f"{timing.speedup:.2f} times unpruned (forward MACs {rows[-1]['mac_ratio']:.2f})"
        )
    return rows


def speed(batches: Iterator[TrainBatch], use: Callable[..., object], least: int = 4) -> float:
    """Clips/s of going through batches, for about ten seconds after the first."""
    next(batches)
    clips, began = 0, time.perf_counter()
    for number, batch in enumerate(batches):
        use(batch)
        clips += len(batch.positions)
        if number >= least and time.perf_counter() - began > 10:
            break
    return clips / (time.perf_counter() - began)


def loading(args: argparse.Namespace, cache: Path) -> list[dict[str, object]]:
    """Clips/s with and without cache, augmentation, filter bank, model."""
    work = job("ast-tiny", 1.0, args, cache)
    work.loader.batch_size = 32
    held = job("ast-tiny", 1.0, args, cache)
    held.loader.batch_size = 32
    held.loader.hold()

    def endless(loader: object) -> Iterator[TrainBatch]:
        return (batch for epoch in range(10**6) for batch in loader.epoch(epoch))

    rows = {
        "decoded for the first time": speed(work.loader.epoch(0), lambda batch: None),
        "cached": speed(endless(work.loader), lambda batch: None),
        "cached, waveforms": speed(endless(work.loader), work.sounds),
        "cached, features": speed(endless(work.loader), lambda batch: work.inputs(batch, 0.0)),
        "held, waveforms": speed(endless(held.loader), held.sounds),
        "held, features": speed(endless(held.loader), lambda batch: held.inputs(batch, 0.0)),
    }
    for preset in ("ast-tiny", "ast-base"):
        trained = job(preset, 1.0, args, cache)
        trained.loader.hold()
        batch = next(trained.loader.epoch(0))
        step = stepper(trained)
        seconds = interleaved([partial(step, batch)], 5, 30.0)[0].seconds
        rows[f"training {preset} alone, one batch again and again"] = len(batch.positions) / seconds
        rows[f"training {preset}, loader and all"] = speed(endless(trained.loader), step, least=2)
    for name, value in rows.items():
        print(f"{name:55s} {value:8.1f} clips/s")
    return [{"what": name, "clips_per_s": value} for name, value in rows.items()]


def main() -> None:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest")
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=150.0, help="seconds a model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        result = {
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "frames": args.frames,
            "batch": args.batch,
            "loader": loading(args, cache),
            "steps": steps("ast-base", args, cache) + steps("audiomae-base", args, cache),
        }
    if args.out:
        save_json(args.out, result)


if __name__ == "__main__":
    main()
