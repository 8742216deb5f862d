"""Rows of a benchmark: one backend at one batch size, within a limit of time."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...common.errors import SpectrimNotice
from ...common.interruption import Stopped
from ...models.provenance import plan_record
from ...pruning.defaults import RECOMMENDED
from ..compilation import compile_within
from ..timing import Timing, interleaved_within
from .candidates import Candidate, Key
from .machine import matrix_product
from .memory import peak_memory

Row = dict[str, Any]


class BudgetShares:
    """The time of several timings: each gets an equal share of what is left.

    So exports and loading, which come first, shorten the timings and not only the first of them.

    Args:
        timings: how many; seconds: for each of them, from now on.
    """

    def __init__(self, timings: int, seconds: float) -> None:
        self.timings, self.seconds = timings, seconds
        self.end = time.perf_counter() + timings * seconds

    def next(self) -> float:
        """Seconds of the next timing."""
        share = (self.end - time.perf_counter()) / self.timings
        self.timings -= 1
        return min(max(share, 0.0), self.seconds)


def timed_rows(
    group: Sequence[Candidate],
    waveforms: list[np.ndarray],
    reference: Any,
    rounds: int,
    seconds: float,
    matmul_size: int,
) -> list[Row]:
    """Rows of the candidates that could be timed, the most important first.

    The matrix product that measures the machine is timed in turn with them, because the speed of
    a shared machine changes from one minute to the next.

    Args:
        group: of one backend; the unpruned model comes first.
        reference: see `bench`; with one, it gets half of the time.
        rounds: maximum number of pairs.
        seconds: time limit for everything; compilation may use half of it.

    Raises:
        Stopped: Ctrl-C; its result is the rows so far.
    """
    began = time.perf_counter()
    compile_seconds = _compile(group, waveforms, seconds / 2)
    group = [candidate for candidate in group if candidate.planned.name in compile_seconds]
    if not group:
        return []
    seconds -= time.perf_counter() - began
    model = group[0].planned.model
    calls = [candidate.call(waveforms) for candidate in group]
    multiply = matrix_product(matmul_size, model.device, model.dtype)
    limit = seconds if reference is None else seconds / 2
    against: list[Timing | None] = [None] * len(group)
    is_stopped = False
    try:
        timings = interleaved_within([*calls, multiply], rounds, limit, model.device)
    except Stopped as stopped:
        timings, is_stopped = stopped.result, True
    if reference is not None and not is_stopped:
        paired = [reference.call(waveforms), *calls]
        try:
            against = interleaved_within(paired, rounds, limit, model.device)[1:]
        except Stopped as stopped:
            against, is_stopped = stopped.result[1:], True
    *timings, product = timings
    machine = None if product is None else matmul_size**3 / product.seconds / 1e9
    rows, late = [], []
    for candidate, timing, paired_timing in zip(group, timings, against, strict=True):
        if timing is None or not timing.rounds:
            late.append(candidate.planned.name)
            continue
        row = _row(candidate, group[0], timing, machine, len(waveforms))
        if compiled := compile_seconds[candidate.planned.name]:
            row["compile_s"] = round(compiled, 3)
        if reference is not None:
            row |= _against(paired_timing)
        rows.append(row)
    if is_stopped:
        raise Stopped(rows)
    if late:
        text = (
            f"{group[0].backend}, batch size {len(waveforms)}: keep rate {', '.join(late)}: not "
            f"timed within {limit:.2g} s. Use a larger --budget."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    return rows


def _compile(
    group: Sequence[Candidate], waveforms: Sequence[np.ndarray], seconds: float
) -> dict[str, float]:
    """Compile the candidates for the size of a batch; a note names those that do not fit.

    Returns:
        Seconds of compilation by the name of the plan, see `compile_within`; 0 for a backend
        without compilation. Omitted plans are absent.
    """
    names = [candidate.planned.name for candidate in group]
    runners = [candidate.runner for candidate in group if candidate.runner.is_compiled]
    if not runners:  # a group is of one backend
        return dict.fromkeys(names, 0.0)
    calls = [partial(runner.compile_for, waveforms) for runner in runners]
    compiled = dict(zip(names, compile_within(calls, seconds), strict=True))
    if late := [name for name, took in compiled.items() if took is None]:
        text = (
            f"{group[0].backend}, batch size {len(waveforms)}: keep rate {', '.join(late)}: not "
            f"timed, because compilation does not fit into {seconds:.3g} s, half of the time for "
            "these rows. Use a larger --budget, or omit --compile."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    return {name: took for name, took in compiled.items() if took is not None}


def _row(
    candidate: Candidate, unpruned: Candidate, timing: Timing, machine: float | None, batch: int
) -> Row:
    """`machine`: GMAC/s of the matrix product; None: it was not timed."""
    speed = candidate.gmacs * batch / timing.seconds
    row: Row = {
        "backend": candidate.backend,
        "quantization": candidate.quantization,
        "keep_rate": candidate.planned.keep_rate,
        "batch_size": batch,
        "ms_per_clip": timing.seconds / batch * 1000,
        "clips_per_s": batch / timing.seconds,
        "gmacs": candidate.gmacs,
        "gmac_per_s": speed,
        "machine_gmac_per_s": machine,
        "share_of_machine": None if machine is None else speed / machine,
        "speedup": timing.speedup,
        "speedup_quartiles": [timing.low, timing.high],
        "mac_ratio": unpruned.gmacs / candidate.gmacs,
        "pairs": timing.rounds,
    }
    if candidate.planned.name == RECOMMENDED:
        row |= {"recommended": True, "plan": plan_record(candidate.planned.model.plan)}
    return row


def _against(timing: Timing | None) -> Row:
    """Columns of the comparison with the reference; None where its time was too short."""
    if timing is None or not timing.rounds:
        return {"speedup_against": None, "speedup_against_quartiles": None}
    return {
        "speedup_against": timing.speedup,
        "speedup_against_quartiles": [timing.low, timing.high],
    }


def median_speed(rows: Sequence[Row]) -> float | None:
    """Median of the machine's GMAC/s over the rows that have it."""
    speeds = [row["machine_gmac_per_s"] for row in rows if row["machine_gmac_per_s"] is not None]
    return statistics.median(speeds) if speeds else None


def add_memory(
    rows: Sequence[Row],
    sources: Mapping[Key, Path],
    window: int,
    threads: int,
    seconds: float,
    device: str,
    dtype: str,
) -> None:
    """Add "peak_mb" to rows, in order, each measured in a fresh process; None: not measured.

    Args:
        sources: what each candidate can be loaded from.
        window: samples per clip.
        seconds: for all rows; a process that takes too long is ended.
    """
    end = time.perf_counter() + seconds
    for row in rows:
        if "compile_s" in row:
            continue  # a fresh process would measure the compiler's memory
        name = RECOMMENDED if row.get("recommended") else str(row["keep_rate"])
        source = sources[row["backend"], row["quantization"], name]
        row["peak_mb"] = peak_memory(
            source, row["backend"], window, row["batch_size"], threads, device, dtype,
            end - time.perf_counter(),
        )  # fmt: skip
