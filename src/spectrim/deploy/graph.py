"""Waveforms to probabilities as one module, in operations that every runtime supports."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..models.transformer import SpectrogramTransformer
from ..pruning.context import Context
from ..pruning.reductions import keep_top
from ..pruning.tokens import Tokens

OUTPUTS = ("probabilities", "logits", "embedding")
"""Names of the outputs: (batch, classes) twice, and (batch, width), the input of the head."""


class FromFeatures(nn.Module):
    """Normalised log-mel features to probabilities, logits and embeddings."""

    names: tuple[str, ...] = ("features", "valid")
    outputs: tuple[str, ...] = OUTPUTS

    def __init__(self, model: SpectrogramTransformer) -> None:
        super().__init__()
        self.model = portable(model)

    def forward(self, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, frames, mels) and (batch,) valid frames to the outputs of `OUTPUTS`."""
        embedding = self.model.embed(features, valid)
        logits = self.model.head(embedding).float()
        return self.model.probabilities(logits), logits, embedding

    def examples(self) -> tuple[Tensor, Tensor]:
        """Inputs to trace with."""
        config = self.model.config
        features = torch.randn(2, config.frames, config.mels, generator=_generator())
        return features, torch.tensor([config.frames, config.frames // 2])

    def free(self) -> tuple[dict[int, Any], dict[int, Any]]:
        """Which sizes of the inputs are free."""
        batch = torch.export.Dim("batch")
        return {0: batch}, {0: batch}


class FromWaveforms(FromFeatures):
    """Waveforms of any number of samples to probabilities, logits and embeddings."""

    names = ("waveforms", "lengths")

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, samples) and (batch,) their samples to the outputs of `OUTPUTS`.

        Samples past a clip's length or past the model's window are ignored.
        """
        window = self.model.config.window_samples
        # Pad with zeros, then cut: this gives one length without a branch on the number of samples.
        behind = waveforms.new_zeros(waveforms.shape[0], window)
        waveforms = torch.cat([waveforms, behind], 1)[:, :window]
        features, valid = self.model.features_from_batch(waveforms, lengths.clamp(max=window))
        return super().forward(features, valid)

    def examples(self) -> tuple[Tensor, Tensor]:
        """Inputs to trace with."""
        samples = self.model.config.window_samples + self.model.config.audio.window
        waveforms = torch.randn(2, samples, generator=_generator()) * 0.1
        return waveforms, torch.tensor([samples, samples // 2])

    def free(self) -> tuple[dict[int, Any], dict[int, Any]]:
        """Which sizes of the inputs are free."""
        batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples")
        return {0: batch, 1: samples}, {0: batch}


def portable(model: SpectrogramTransformer) -> SpectrogramTransformer:
    """The same model, with a ranking that gives the same result for ties in every runtime."""
    stages = []
    for stage in model.plan.stages:
        if stage.reduce is keep_top:
            stage = copy.copy(stage)  # a copy shares a learned score; a new stage would not
            object.__setattr__(stage, "reduce", keep_top_in_order)
        stages.append(stage)
    return model.with_plan(replace(model.plan, stages=tuple(stages)))


def keep_top_in_order(tokens: Tokens, scores: Tensor, count: int, context: Context) -> Tokens:
    """Keep the same patches as `keep_top`, in the order of their index instead of their score.

    `keep_top` needs a stable sort, but runtimes differ in how they order equal values (OpenVINO's
    top-k leaves it open). This function first finds the lowest score that is kept. All patches
    above it stay, and of the patches equal to it the first ones. A top-k over keys without ties
    then selects the patches that stay.
    """
    least = scores.topk(count).values[:, -1:]
    above, equal = scores > least, scores == least
    room = count - above.sum(1, keepdim=True)
    stays = above | (equal & (equal.long().cumsum(1) <= room))
    index = torch.arange(tokens.count, device=scores.device)
    keys = torch.where(stays, tokens.count - index, -1 - index)
    return tokens.take(keys.float().topk(count).indices)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
