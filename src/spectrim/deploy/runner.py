"""What tagging and measuring want of a model, whatever runs it; knows no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer


class Runner(ABC):
    """A model at work: waveforms in, probabilities out.

    Attributes:
        labels: names of the classes, in the order of the probabilities.
        window: samples at 16 kHz that the model hears at a time; what is longer is cut.
    """

    labels: list[str]
    window: int

    @abstractmethod
    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, 16 kHz mono, to (batch, classes) float32."""

    @abstractmethod
    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """What a result says about its making, as `models.record.context_of`."""


def runner_of(model: Runner | SpectrogramTransformer) -> Runner:
    """A runner as it is, a model of torch as one."""
    if isinstance(model, Runner):
        return model
    from .torch_runner import TorchRunner  # here: an exported model runs without torch

    return TorchRunner(model)


def padded(waveforms: Sequence[np.ndarray], window: int) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms of any length as one array.

    Returns:
        waveforms: (batch, longest) float32, cut to `window` samples, zero past each one's end.
        lengths: (batch,) int64 samples of each.
    """
    cut = [np.asarray(waveform, np.float32)[:window] for waveform in waveforms]
    lengths = np.array([len(waveform) for waveform in cut], np.int64)
    together = np.zeros((len(cut), max(map(len, cut), default=0)), np.float32)
    for row, waveform in zip(together, cut, strict=True):
        row[: len(waveform)] = waveform
    return together, lengths
