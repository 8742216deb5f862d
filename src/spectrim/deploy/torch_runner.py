"""A model of torch at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..audio.constants import num_samples
from ..models.provenance import context_of
from ..models.transformer import SpectrogramTransformer
from .runner import Runner

AT_ONCE = 1024
"""Patches that a CPU computes at a time, in the mean over blocks: the MLP's activations of more
leave its cache, and memory for them is asked of the system anew in each layer. What it wins:
`benchmarks/pieces.py`."""


class TorchRunner(Runner):
    """Runs a model as it stands: its plan, device and dtype; on a CPU a batch in pieces."""

    def __init__(self, model: SpectrogramTransformer) -> None:
        self.model = model
        self.labels = model.labels
        self.window = num_samples(model.config.frames)

    @property
    def clips_at_once(self) -> int | None:
        """Of how many clips the pieces are; None: a batch is not divided."""
        if self.model.device.type != "cpu":
            return None
        config = self.model.config
        counts = self.model.plan.counts(config.grid.count, config.depth)
        mean = sum(transformed for _, transformed in counts) / len(counts)
        return max(1, round(AT_ONCE / mean))

    @torch.inference_mode()
    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, 16 kHz mono, to (batch, classes) float32."""
        whole = max(1, len(waveforms))
        size = self.clips_at_once or whole
        parts = [waveforms[at : at + size] for at in range(0, whole, size)]
        logits = torch.cat(
            [self.model(*self.model.features_from_waveforms(list(part))) for part in parts]
        )
        return self.model.probabilities(logits).cpu().numpy()

    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """What a result says about its making."""
        return context_of(self.model, name, batch_size) | {"backend": "torch"}
