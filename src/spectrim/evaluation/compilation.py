"""Compilation of several models, as many as a limit of time allows."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence

from ..common.interruption import OutOfTime, time_limit

COMPILER = ("torch._dynamo", "torch._inductor.compile_fx", "torch._inductor.codegen.cpp")


def compile_within(
    compilations: Sequence[Callable[[], float]], seconds: float
) -> list[float | None]:
    """Compile models in order, until the time is used up.

    A compilation does not start if the previous one took longer than the time that is left. It is
    stopped when the time is over. Put the model that the others are compared with first: if it
    does not fit, no other model is compiled.

    Args:
        compilations: each compiles one model and returns the seconds that it took, now or earlier.
        seconds: time limit for all of them together.

    Returns:
        The seconds of each; None if it did not fit.

    Raises:
        SpectrimError: a model cannot be compiled.
    """
    # The time limit must not interrupt an import: modules would stay half imported.
    for module in COMPILER:
        importlib.import_module(module)
    results: list[float | None] = []
    end, last = time.perf_counter() + seconds, 0.0
    for compilation in compilations:
        left = end - time.perf_counter()
        result = None
        if left > last and (not results or results[0] is not None):
            try:
                with time_limit(left):
                    result = last = compilation()
            except OutOfTime:
                last = seconds
        results.append(result)
    return results
