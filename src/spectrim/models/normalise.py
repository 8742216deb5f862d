"""Normalisation of features: by one mean and standard deviation, and per mel bin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import ModelConfig


class Normalise(nn.Module):
    """Features to normalised features, float32, also in a model of another dtype.

    (x - mean) / (std_factor * std), then times `mel_scale` plus `mel_shift` where the config has
    them.
    """

    per_mel: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mean, self.divisor = config.mean, config.std_factor * config.std
        scale = config.mel_scale or (1.0,) * config.mels
        shift = config.mel_shift or (0.0,) * config.mels
        self.has_per_mel = bool(config.mel_scale or config.mel_shift)
        self.register_buffer("per_mel", torch.tensor([scale, shift]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(..., mels) features as the front end returns them to normalised ones."""
        normalised = (features - self.mean) / self.divisor
        if not self.has_per_mel:
            return normalised
        return normalised * self.per_mel[0] + self.per_mel[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normalise:
        # Follow a move to another device, but no change of dtype.
        self.per_mel = self.per_mel.to(fn(self.per_mel).device)
        return self
