"""Exported files of a benchmark, as many as its budget allows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...common.errors import SpectrimError, SpectrimNotice
from ...common.interruption import OutOfTime, time_limit
from ...deploy.export import check_exportable, export
from ...deploy.export_cache import copy_cached, export_key, keep_in_cache
from ...pruning.defaults import RECOMMENDED
from .candidates import PlannedModel

Announce = Callable[[str], None]
"""Progress: the name of the current step."""


def exportable(models: Sequence[PlannedModel]) -> list[PlannedModel]:
    """The models; a recommended plan that cannot be exported is left out with a notice.

    Raises:
        SpectrimError: another plan cannot be exported.
    """
    fitting = []
    for planned in models:
        try:
            check_exportable(planned.model)
            fitting.append(planned)
        except SpectrimError as error:
            _refuse_unless_recommended(planned, error)
    return fitting


def export_within(
    models: Sequence[PlannedModel],
    quantization: str,
    calibration: Sequence[Sequence[np.ndarray]] | None,
    folder: Path,
    seconds: float,
    steps: Announce,
) -> dict[str, Path]:
    """Export models in order, as far as the time goes; files of the cache take none.

    An export is not started if the one before shows that it will not fit, and ended if it does
    not. A notice names the plans that are left out.

    Args:
        quantization: "none" or "int8". calibration: see `export`.
        folder: for the files.
        seconds: for all of them.

    Returns:
        The files by the name of the plan.

    Raises:
        SpectrimError: a plan other than the recommended one cannot be exported.
    """
    quantize = None if quantization == "none" else quantization
    clips = None if quantize is None else calibration
    files: dict[str, Path] = {}
    late: list[str] = []
    began, last = time.perf_counter(), 0.0
    for planned in models:
        file = folder / f"{planned.name}-{quantization}.onnx"
        steps(f"export, keep rate {planned.name}, {quantization}")
        key = export_key(planned.model, quantize, clips)
        start = time.perf_counter()
        left = seconds - (start - began)
        if copy_cached(key, file):
            files[planned.name] = file
        elif left < last:
            late.append(planned.name)
        else:
            try:
                with time_limit(left):
                    export(planned.model, file, quantize=quantize, calibration=clips)
                keep_in_cache(key, file)
                files[planned.name] = file
                last = time.perf_counter() - start
            except SpectrimError as error:
                _refuse_unless_recommended(planned, error)
            except OutOfTime:
                late.append(planned.name)
                last = seconds
    if late:
        again = ", or run the command again: finished exports are cached" if files else ""
        text = (
            f"exported files ({quantization}) of keep rate {', '.join(late)} are not timed: the "
            f"exports do not fit into {seconds:.3g} s, half of the time for all rows with exported "
            f"files. Use a larger --budget{again}."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    return files


def _refuse_unless_recommended(planned: PlannedModel, error: SpectrimError) -> None:
    if planned.name != RECOMMENDED:
        raise error
    text = f"the recommended plan is timed with torch only: {error}"
    warnings.warn(SpectrimNotice(text), stacklevel=3)
