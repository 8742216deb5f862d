"""What a benchmark times: one model with several plans, in several backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...deploy.onnx_model import load_onnx
from ...deploy.runner import Runner
from ...deploy.torch_runner import TorchRunner
from ...models.build import macs
from ...models.transformer import SpectrogramTransformer

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


def torch_candidates(models: Sequence[PlannedModel], folder: Path) -> list[Candidate]:
    """The models run by PyTorch. Each is saved in the folder, where memory is measured from."""
    return [
        Candidate("torch", "none", planned, TorchRunner(planned.model),
                  planned.model.save(folder / f"torch-{planned.name}"))
        for planned in models
    ]  # fmt: skip


def exported_candidates(
    models: Sequence[PlannedModel],
    files: Mapping[str, Path],
    backend: str,
    quantization: str,
    threads: int | None,
) -> list[Candidate]:
    """The models that have an exported file (by the name of the plan), run by a backend."""
    return [
        Candidate(backend, quantization, planned, load_onnx(file, backend, threads), file)
        for planned in models
        if (file := files.get(planned.name)) is not None
    ]
