"""Median times of several calls that take turns, by CUDA events or by the host's clock."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

REGION = 0.02  # seconds that a timed region lasts at least; a short call is repeated to fill it


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int = 15,
    budget: float = 4.0,
    least: int = 3,
) -> dict[str, dict[str, Any]]:
    """Time calls in turns.

    Args:
        calls: name to call.
        rounds: at most; least: at least; budget: seconds after which no round begins.

    Returns:
        Name to {"ms": median of a call, "low_ms", "high_ms": quartiles, "rounds", "peak_mib":
        device memory that a call takes at its highest, inputs and weights not counted}, or
        {"failed": message}.
    """
    rows: dict[str, dict[str, Any]] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        try:
            rows[name] = {"peak_mib": _peak(call, device)}
            repeats[name] = max(1, math.ceil(REGION / max(1e-7, _seconds(call, device, 1))))
        except (RuntimeError, ValueError) as error:
            rows[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
            if device.type == "cuda":
                torch.cuda.empty_cache()
    times: dict[str, list[float]] = {name: [] for name in repeats}
    names, began, done = list(repeats), time.monotonic(), 0
    while names and done < rounds and (done < least or time.monotonic() - began < budget):
        # Each round begins with another call, so that no call always follows the same one.
        for name in names[done % len(names) :] + names[: done % len(names)]:
            times[name].append(_seconds(calls[name], device, repeats[name]) / repeats[name])
        done += 1
    for name in names:
        low, middle, high = statistics.quantiles(times[name], n=4, method="inclusive")
        rows[name] |= {"ms": _ms(middle), "low_ms": _ms(low), "high_ms": _ms(high), "rounds": done}
    return rows


def _seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of `repeats` calls, the device idle before and after them."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000


def _peak(call: Callable[[], object], device: torch.device) -> float | None:
    """Device memory that a call takes at its highest, in MiB, after one call to warm up."""
    call()
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def _ms(seconds: float) -> float:
    return float(f"{seconds * 1000:.5g}")
