"""Where a pruned forward pass spends its time on a GPU, and which operations synchronise.

A synchronisation makes the host wait for the device: the next launches come late, and CUDA graphs
cannot capture it. PyTorch reports each one with the line of Python that caused it.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from piece import Piece, features_on_device
from torch.profiler import ProfilerActivity, profile

import spectrim

TOP = 14  # kernels that are listed
RATE = 16_000


def kernels(piece: Piece, call: Callable[[], object]) -> dict[str, Any]:
    """Kernels of one call by their time, and the time of the call with and without profiler."""
    cuda = piece.device.type == "cuda"
    for _ in range(2):
        call()
    if cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    issued = time.perf_counter() - began
    if cuda:
        torch.cuda.synchronize()
    wall = time.perf_counter() - began
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as run:
        call()
        if cuda:
            torch.cuda.synchronize()
    kind = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    times: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in run.events():
        if event.device_type == kind:
            micro = event.device_time_total if cuda else event.self_cpu_time_total
            times[event.name] += micro
            counts[event.name] += 1
    total = sum(times.values())
    return {
        "wall_ms": round(wall * 1000, 3),
        "host_ms": round(issued * 1000, 3),
        "kernel_ms": round(total / 1000, 3),
        "kernel_launches": sum(counts.values()),
        "top": [
            {
                "kernel": name[:110],
                "ms": round(micro / 1000, 4),
                "fraction": round(micro / max(total, 1e-9), 4),
                "launches": counts[name],
            }
            for name, micro in times.most_common(TOP)
        ],
    }


def synchronisations(call: Callable[[], object]) -> dict[str, int]:
    """Line of Python to the number of synchronisations that it causes in one call."""
    call()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{'/'.join(w.filename.split('/')[-3:])}:{w.lineno}"
        for w in caught
        if "synchroniz" in str(w.message)
    )
    return dict(places)


def main() -> None:
    """Profile AST and AudioMAE, then look for synchronisations in everything a user calls."""
    piece = Piece(__file__, __doc__)
    torch.manual_seed(0)
    size, frames, batch = ("tiny", 128, 2) if piece.rehearsal else ("base", 1024, 128)
    samples = (frames - 1) * 160 + 400
    device = piece.device
    sounds = torch.randn(batch, samples, device=device) * 0.1
    lengths = torch.full((batch,), samples, device=device)
    with torch.inference_mode():
        for family in ("ast", "audiomae"):
            model = spectrim.create(f"{family}-{size}", frames=frames).to(device, torch.bfloat16)
            features, valid = features_on_device(model, sounds, lengths)
            for rate in (1.0, 0.5):
                pruned = spectrim.prune(model, rate)
                call = functools.partial(pruned, features, valid)
                name = f"kernels, {family}, keep rate {rate}"
                piece.case(name, functools.partial(kernels, piece, call))
            few = functools.partial(pruned, features[:1], valid[:1])
            piece.case(
                f"kernels, {family}, keep rate 0.5, batch 1", functools.partial(kernels, piece, few)
            )
        front = functools.partial(features_on_device, model, sounds, lengths)
        piece.case("kernels, front end", functools.partial(kernels, piece, front))
    if device.type != "cuda":
        piece.skip("synchronisations", "Only CUDA reports them.")
        piece.finish()
    small = {name: spectrim.create(f"{name}-tiny", frames=128) for name in ("ast", "audiomae")}
    sounds, lengths = sounds[:4, :20_880].contiguous(), torch.full((4,), 20_880, device=device)
    waveforms = list(sounds.cpu().numpy())
    for family, model in small.items():
        model = model.to(device)
        features, valid = features_on_device(model, sounds, lengths)
        calls: dict[str, Callable[[], object]] = {
            "features of arrays": functools.partial(model.features_from_waveforms, waveforms),
            "features on the device": functools.partial(features_on_device, model, sounds, lengths),
            "unpruned": functools.partial(model, features, valid),
        }
        for score in ("attention", "intensity", "variation", "random"):
            pruned = spectrim.prune(model, 0.5, score)
            calls[f"pruned by {score}"] = functools.partial(pruned, features, valid)
        half = torch.rand(4, model.grid.count, device=device) < 0.5
        calls["without valid"] = functools.partial(pruned, features)
        calls["keep masks"] = functools.partial(model, features, valid, keep=half, keep_after=4)
        calls["trace"] = functools.partial(pruned.trace, features, valid)
        for name, call in calls.items():
            with torch.inference_mode():
                piece.case(
                    f"synchronisations, {family}, {name}", functools.partial(synchronisations, call)
                )

        def backward(model: Any = pruned, features: Any = features, valid: Any = valid) -> None:
            model(features, valid).square().mean().backward()

        piece.case(
            f"synchronisations, {family}, backward", functools.partial(synchronisations, backward)
        )
    piece.finish()


if __name__ == "__main__":
    main()
