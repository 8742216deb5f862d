"""Training throughput at keep rates 1.0 and 0.5, in clips per second.

First the training step alone: waveforms already on the device, features, forward under autocast to
bf16, backward, AdamW. Then the command `spectrim train` with its loader, on packed clips.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from piece import HERE, Piece, features_on_device
from timing import interleaved

import spectrim

RATE = 16_000
HOP = 160  # samples from frame to frame
WINDOW = 400  # samples of a frame


def stepper(
    piece: Piece, preset: str, frames: int, keep_rate: float, batch: int, compile: bool = False
) -> Callable[[], None]:
    """A whole training step of a model of 50 classes, on one batch that lies on the device."""
    device = piece.device
    model = spectrim.create(preset, frames=frames, classes=50).to(device)
    model = spectrim.prune(model, keep_rate).train()
    samples = (frames - 1) * HOP + WINDOW
    sounds = torch.randn(batch, samples, device=device) * 0.1
    lengths = torch.full((batch,), samples, device=device)
    targets = torch.randint(50, (batch,), device=device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-5, fused=device.type == "cuda")
    backend = "eager" if piece.rehearsal else "inductor"
    forward: Any = torch.compile(model, dynamic=False, backend=backend) if compile else model

    def step() -> None:
        with torch.no_grad():
            features, valid = features_on_device(model, sounds, lengths)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = forward(features, valid)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def steps(
    piece: Piece, preset: str, frames: int, batch: int, compiled: bool = False
) -> dict[str, Any]:
    """Training steps at both keep rates, in turns; compiled ones beside them."""
    make = functools.partial(stepper, piece, preset, frames)
    calls = {f"{rate} eager": make(rate, batch) for rate in (1.0, 0.5)}
    if compiled:
        calls |= {f"{rate} compiled": make(rate, batch, compile=True) for rate in (1.0, 0.5)}
    rounds = 2 if piece.rehearsal else 10
    rows = interleaved(calls, piece.device, rounds, budget=4.0, least=min(3, rounds))
    for row in rows.values():
        if "ms" in row:
            row["clips_per_s"] = float(f"{batch / row['ms'] * 1000:.5g}")
    model = spectrim.create(preset, frames=frames, classes=50)
    ratio = spectrim.macs(model) / spectrim.macs(spectrim.prune(model, 0.5))
    return {"batch": batch, "frames": frames, "mac_ratio": round(ratio, 3), "rows": rows}


def many(piece: Piece, corpus: str, folder: Path, clips: int, seconds: float) -> Path:
    """A manifest of `clips` rows over the packed files, each row another stretch of one."""
    assert piece.data is not None
    source = piece.data.resolve() / corpus
    lines = (source / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    rows = ["path,label,start,end"]
    for number in range(clips):
        path, label = lines[number % len(lines)].rsplit(",", 1)
        start = 0.001 * (number // len(lines))
        rows.append(f"{source / path},{label},{start:.3f},{start + seconds:.3f}")
    manifest = folder / "many.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def command(
    piece: Piece, preset: str, frames: int, clips: int, batch: int, seconds: float, workers: int,
    rate: float,
) -> dict[str, Any]:  # fmt: skip
    """`spectrim train` for three epochs; only the first one decodes files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = many(piece, "esc10", folder, clips, seconds)
        recipe = HERE.parents[1] / "recipes" / "finetune.yaml"
        line = [sys.executable, "-m", "spectrim", "train", str(recipe)]
        line += [f"data.manifest={manifest}", f"model.preset={preset}", "data.holdout=0.02"]
        line += [f"model.frames={frames}", "model.mean=-6.6", "model.std=5.4", "epochs=3"]
        line += [f"keep_rate={rate}", "schedule.start=0", "schedule.length=0"]
        line += [f"optim.batch_size={batch}", f"data.workers={workers}"]
        line += [f"data.cache={folder / 'cache'}", "run.tensorboard=false", "select.every=3"]
        line += ["--out", str(folder / "run")]
        limit = piece.left() if piece.rehearsal else min(100.0, max(10.0, piece.left()))
        done = subprocess.run(line, capture_output=True, text=True, timeout=limit)
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-1200:]}")
        text = (folder / "run" / "epochs.jsonl").read_text(encoding="utf-8").splitlines()
        epochs = [json.loads(entry) for entry in text]
    result = {"batch": batch, "frames": frames, "clips": clips, "workers": workers}
    return result | {
        "clips_per_s": [epoch["clips_per_s"] for epoch in epochs],
        "loss": [round(epoch["loss"], 4) for epoch in epochs],
        "keep_rate": epochs[-1]["keep_rate"],
    }


def main() -> None:
    """Measure steps, then the command, then compiled steps."""
    piece = Piece(__file__, __doc__)
    torch.manual_seed(0)
    torch._dynamo.config.recompile_limit = 64
    part = functools.partial
    if piece.rehearsal:
        piece.case("step, ast-tiny", part(steps, piece, "ast-tiny", 64, 2))
        run = part(command, piece, "ast-tiny", 64, 16, 8, 0.7, 1, 0.5)
        piece.case("spectrim train, ast-tiny, keep rate 0.5", run)
        piece.finish()
    tiny, base = ("ast-tiny", 512), ("ast-base", 1024)
    workers = 12
    plan: list[tuple[str, Callable[[], Any], float]] = [
        ("step, ast-tiny", part(steps, piece, *tiny, 256), 10),
        ("step, ast-tiny, batch 1024", part(steps, piece, *tiny, 1024), 10),
        ("step, ast-base", part(steps, piece, *base, 64), 12),
    ]
    for rate in (0.5, 1.0):
        name = f"spectrim train, ast-tiny, keep rate {rate}"
        plan.append((name, part(command, piece, *tiny, 960, 128, 4.9, workers, rate), 25))
    plan.append(("step, audiomae-base", part(steps, piece, "audiomae-base", 1024, 64), 12))
    for rate in (0.5, 1.0):
        name = f"spectrim train, ast-base, keep rate {rate}"
        plan.append((name, part(command, piece, *base, 640, 64, 4.9, workers, rate), 40))
    plan.append(("step, ast-tiny, compiled", part(steps, piece, *tiny, 256, True), 100))
    for name, measure, needs in plan:
        piece.case(name, measure, needs)
    piece.finish()


if __name__ == "__main__":
    main()
