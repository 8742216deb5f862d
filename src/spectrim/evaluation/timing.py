"""Timing of variants side by side: they take turns, and ratios are computed within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..common.interruption import Stopped

LEAST_ROUNDS = 3  # fewer pairs have no meaningful median
OVERRUN = 1.1  # a pair starts if it is expected to end within this much of the budget

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of a call, and its speed-up over the first call.

    Attributes:
        seconds: of the first call, the median of all its times; of another call, that median
            divided by the speed-up. So times and speed-ups always agree. A median of a call's own
            times would not: on a busy machine the first call has slow and fast moments that the
            other call did not share.
        speedup: median over the pairs of the ratio within a pair.
        rounds: number of pairs.
        low, high: quartiles of the ratios.
    """

    seconds: float
    speedup: float
    rounds: int
    low: float = 1.0
    high: float = 1.0


def interleaved(
    calls: Sequence[Call],
    rounds: int = 20,
    budget: float = 60.0,
    least: int = LEAST_ROUNDS,
    device: torch.device | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Timing]:
    """Time all calls in turns, because a busy moment of the machine then affects all equally.

    Args:
        calls: the others are compared with the first, which runs right before or after each of
            them. The speed-up is the median of the ratios of these pairs.
        rounds: maximum; least: minimum; budget: seconds after which no round starts.
        device: synchronised after each call if it is a GPU.
        tick: called after each timed pair.
    """
    pairs = _Pairs(calls, device, tick)
    for index in range(len(calls)):
        pairs.warm_up(index)
    began = time.perf_counter()
    done = 0
    while done < rounds and (done < least or time.perf_counter() - began < budget):
        for index in range(min(1, len(calls) - 1), len(calls)):
            pairs.add(index, done)
        done += 1
    return [pairs.timing(index) for index in range(len(calls))]


def interleaved_within(
    calls: Sequence[Call],
    rounds: int,
    budget: float,
    device: torch.device | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Timing | None]:
    """Time calls in turns, within a budget that includes their warm-up.

    Put the calls that matter most first: where `LEAST_ROUNDS` rounds of all of them do not fit
    into the budget, the last ones are not timed. Only a first call that takes longer than the
    budget overruns it.

    Args:
        calls, rounds, device, tick: see `interleaved`.
        budget: seconds for everything.

    Returns:
        A timing for each call; None for a call without a timed pair.

    Raises:
        Stopped: Ctrl-C; its result is the timings so far.
    """
    began = time.perf_counter()
    pairs = _Pairs(calls, device, tick)

    def fits(seconds: float, overrun: float = 1.0) -> bool:
        return time.perf_counter() - began + seconds <= budget * overrun

    try:
        pairs.warm_up(0)
        chosen: list[int] = []
        for index in range(1, len(calls)):
            # Assume that the next call takes as long as the first; pruned models take less.
            next_warm_up, next_pair = pairs.expected(0), 2 * pairs.expected(0)
            round_seconds = sum(map(pairs.pair_seconds, chosen)) + next_pair
            # A budget too short for one call and its rounds may still suffice for one pair.
            least = min(LEAST_ROUNDS, rounds) if chosen else 1
            if not fits(next_warm_up + least * round_seconds):
                break
            pairs.warm_up(index)
            chosen.append(index)
        for done in range(rounds):
            any_fits = False
            for index in chosen or [0]:
                if fits(pairs.pair_seconds(index), OVERRUN):
                    pairs.add(index, done)
                    any_fits = True
            if not any_fits:
                break
    except KeyboardInterrupt:
        raise Stopped(pairs.timings()) from None
    return pairs.timings()


class _Pairs:
    """Times of calls, and the ratios of the first call's time to that of its partner."""

    def __init__(
        self, calls: Sequence[Call], device: torch.device | None, tick: Callable[[], None]
    ) -> None:
        self.calls, self.device, self.tick = calls, device, tick
        self.warm_ups: list[float | None] = [None] * len(calls)
        self.times: list[list[float]] = [[] for _ in calls]
        self.ratios: list[list[float]] = [[] for _ in calls]

    def warm_up(self, index: int) -> None:
        self.warm_ups[index] = self._timed(index)

    def add(self, index: int, done: int) -> None:
        """Time a pair; the order in the pair alternates, because it may affect the time."""
        if index == 0:
            self.times[0].append(self._timed(0))
        else:
            first, second = (0, index) if done % 2 else (index, 0)
            seconds = {first: self._timed(first), second: self._timed(second)}
            self.times[0].append(seconds[0])
            self.times[index].append(seconds[index])
            self.ratios[index].append(seconds[0] / seconds[index])
        self.tick()

    def expected(self, index: int) -> float:
        """Seconds that a call is expected to take: its last time."""
        last = self.times[index][-1:] or [self.warm_ups[index] or 0.0]
        return last[0]

    def pair_seconds(self, index: int) -> float:
        return self.expected(0) + (self.expected(index) if index else 0.0)

    def timing(self, index: int) -> Timing:
        seconds = statistics.median(self.times[0] or [self.warm_ups[0] or 0.0])
        if index == 0:
            pairs = max(map(len, self.ratios))
            return Timing(seconds, 1.0, pairs or len(self.times[0]))
        ratio = statistics.median(self.ratios[index])
        return Timing(
            seconds / ratio, ratio, len(self.ratios[index]), *_quartiles(self.ratios[index])
        )

    def timings(self) -> list[Timing | None]:
        if self.warm_ups[0] is None:  # interrupted in the first call
            return [None] * len(self.calls)
        timed = [index == 0 or bool(self.ratios[index]) for index in range(len(self.calls))]
        return [self.timing(index) if timed[index] else None for index in range(len(timed))]

    def _timed(self, index: int) -> float:
        start = time.perf_counter()
        self.calls[index]()
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device is not None and self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - start


def _quartiles(ratios: Sequence[float]) -> tuple[float, float]:
    if len(ratios) < 2:
        return (ratios[0], ratios[0])
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, high
