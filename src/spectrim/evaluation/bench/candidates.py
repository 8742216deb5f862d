"""What a benchmark times: one model with several plans, in several backends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...common.errors import SpectrimError, SpectrimNotice
from ...deploy.export import export
from ...deploy.onnx_model import load_onnx
from ...deploy.runner import Runner
from ...deploy.torch_runner import TorchRunner
from ...models.build import macs
from ...models.transformer import SpectrogramTransformer
from ...pruning.defaults import RECOMMENDED

Steps = Callable[[str], None]
"""Progress: the name of the current step."""
Key = tuple[str, str, str]  # backend, quantization, name of the plan


@dataclass(frozen=True)
class PlannedModel:
    """The model with one plan.

    Attributes:
        name: of the plan: the keep rate, or "recommended".
        keep_rate: of all stages; None: they differ.
    """

    name: str
    keep_rate: float | None
    model: SpectrogramTransformer


@dataclass(frozen=True)
class Candidate:
    """The model with one backend and plan, and the file or folder it can be loaded from."""

    backend: str
    quantization: str
    planned: PlannedModel
    runner: Runner
    source: Path

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates for one clip, in billions."""
        return macs(self.planned.model) / 1e9

    @property
    def key(self) -> Key:
        """Tells the candidates apart."""
        return self.backend, self.quantization, self.planned.name

    def call(self, waveforms: list[np.ndarray]) -> Callable[[], object]:
        """Waveforms to probabilities."""
        return lambda: self.runner.probabilities(waveforms)


def exported(planned: PlannedModel, folder: Path, steps: Steps) -> bool:
    """Export a model in float32; False if its recommended plan cannot be exported."""
    steps(f"export, keep rate {planned.name}, none")
    try:
        export(planned.model, folder / f"{planned.name}-none.onnx")
    except SpectrimError as error:
        if planned.name != RECOMMENDED:
            raise
        text = f"the recommended plan is timed with torch only: {error}"
        warnings.warn(SpectrimNotice(text), stacklevel=3)
        return False
    return True


def groups_of(
    models: Sequence[PlannedModel],
    to_export: Sequence[PlannedModel],
    backends: Sequence[str],
    quantize: Sequence[str],
    calibration: Sequence[Sequence[np.ndarray]] | None,
    folder: Path,
    threads: int | None,
    steps: Steps,
) -> Iterator[list[Candidate]]:
    """A group for each backend and precision: the unpruned model, then the pruned ones.

    The float32 files are in `folder` already if a backend needs them.

    Groups come one at a time, torch first: next to another runtime's threads and memory, torch
    runs up to 5 % slower than alone.
    """
    if "torch" in backends:
        yield [
            Candidate("torch", "none", planned, TorchRunner(planned.model),
                      planned.model.save(folder / f"torch-{planned.name}"))
            for planned in models
        ]  # fmt: skip
    others = [backend for backend in backends if backend != "torch"]
    for kind in quantize if others else ():
        files = [folder / f"{planned.name}-{kind}.onnx" for planned in to_export]
        for planned, file in zip(to_export, files, strict=True):
            if not file.exists():
                steps(f"export, keep rate {planned.name}, {kind}")
                export(planned.model, file, quantize=kind, calibration=calibration)
        for backend in others:
            if kind == "int8" and calibration is None and backend != "onnxruntime":
                steps(f"{backend}: no int8 without --calibrate")
                continue  # OpenVINO runs dynamic int8 in float32, which is slower
            yield [
                Candidate(backend, kind, planned, load_onnx(file, backend, threads), file)
                for planned, file in zip(to_export, files, strict=True)
            ]
