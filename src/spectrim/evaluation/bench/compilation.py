"""Compiled models of a benchmark, as many as its budget allows."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Sequence

import numpy as np

from ...common.errors import SpectrimNotice
from ...common.interruption import OutOfTime, time_limit
from ...deploy.torch_runner import TorchRunner
from .candidates import Candidate

COMPILER = ("torch._dynamo", "torch._inductor.compile_fx", "torch._inductor.codegen.cpp")


def compile_within(
    group: Sequence[Candidate], waveforms: Sequence[np.ndarray], seconds: float
) -> dict[str, float]:
    """Compile the candidates in order for one batch size, until the time is used up.

    A compilation does not start if the previous one took longer than the time that is left. It is
    stopped when the time is over. The unpruned model comes first: if it does not fit, no other
    model is compiled, because there is nothing to compare with. A note names the omitted plans.

    Args:
        waveforms: a batch of this size.
        seconds: time limit for all compilations together.

    Returns:
        Seconds of compilation, now or earlier, by the name of the plan; 0 for a model that is not
        to be compiled. Omitted plans are absent.

    Raises:
        SpectrimError: a model cannot be compiled.
    """
    compiled: dict[str, float] = {}
    late: list[str] = []
    end, last = time.perf_counter() + seconds, 0.0
    if any(candidate.runner.is_compiled for candidate in group):
        # The time limit must not interrupt an import: modules would stay half imported.
        for module in COMPILER:
            importlib.import_module(module)
    for candidate in group:
        runner, name = candidate.runner, candidate.planned.name
        if not isinstance(runner, TorchRunner) or not runner.is_compiled:
            compiled[name] = 0.0
            continue
        left = end - time.perf_counter()
        if left <= last or (late and not compiled):
            late.append(name)
            continue
        try:
            with time_limit(left):
                compiled[name] = last = runner.compile_for(waveforms)
        except OutOfTime:
            late.append(name)
            last = seconds
    if late:
        text = (
            f"{group[0].backend}, batch size {len(waveforms)}: keep rate {', '.join(late)}: not "
            f"timed, because compilation does not fit into {seconds:.3g} s, half of the time for "
            "these rows. Use a larger --budget, or omit --compile."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    return compiled
