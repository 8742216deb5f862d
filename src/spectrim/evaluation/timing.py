"""Timing of variants side by side: they take turns, and ratios are computed within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Medians over rounds: seconds of a call, and its speed-up over the first call.

    `low` and `high` are the quartiles of these ratios.
    """

    seconds: float
    speedup: float
    rounds: int
    low: float = 1.0
    high: float = 1.0


def interleaved(
    calls: Sequence[Callable[[], object]],
    rounds: int = 20,
    budget: float = 60.0,
    least: int = 3,
    device: torch.device | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Timing]:
    """Time calls in turns, because a busy moment of the machine then affects all calls equally.

    Args:
        calls: the others are compared with the first, which runs right before or after each of
            them. The speed-up is the median of the ratios of these pairs.
        rounds: maximum; least: minimum; budget: seconds after which no round starts.
        device: synchronised after each call if it is a GPU.
        tick: called after each timed pair.
    """

    def timed(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device is not None and device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - start

    for call in calls:
        timed(call)  # warm up
    times: list[list[float]] = [[] for _ in calls]
    ratios: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    done = 0
    while done < rounds and (done < least or time.perf_counter() - began < budget):
        for index, call in enumerate(calls[1:], 1):
            # Alternate the order in the pair, because the position may affect the time.
            pair = [timed(calls[0]), timed(call)] if done % 2 else [timed(call), timed(calls[0])]
            base, this = pair if done % 2 else pair[::-1]
            times[0].append(base)
            times[index].append(this)
            ratios[index].append(base / this)
            tick()
        if len(calls) == 1:
            times[0].append(timed(calls[0]))
            tick()
        done += 1
    return [
        Timing(
            statistics.median(seconds), statistics.median(ratio or [1.0]), done, *_quartiles(ratio)
        )
        for seconds, ratio in zip(times, ratios, strict=True)
    ]


def _quartiles(ratios: Sequence[float]) -> tuple[float, float]:
    if len(ratios) < 2:
        return (ratios[0], ratios[0]) if ratios else (1.0, 1.0)
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, high
