"""Norms of a model by its config, and random initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .config import ModelConfig
from .positions import sine_cosine

if TYPE_CHECKING:
    from .transformer import SpectrogramTransformer


def layer_norm(config: ModelConfig) -> nn.Module:
    """A LayerNorm over the width, with the epsilon of the blocks."""
    return nn.LayerNorm(config.width, config.eps)


def head_norm(config: ModelConfig) -> nn.LayerNorm | nn.BatchNorm1d:
    """The norm before the linear head: a LayerNorm, or a BatchNorm without scale and shift."""
    if config.head_norm == "batch":
        return nn.BatchNorm1d(config.width, config.head_eps, affine=False)
    return nn.LayerNorm(config.width, config.head_eps)


def initialise(model: SpectrogramTransformer) -> None:
    """Set random initial weights and, where they are not learned, the positions."""
    config = model.config
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(model.prefix_tokens, std=0.02)
    if config.learned_positions:
        nn.init.trunc_normal_(model.positions, std=0.02)
        return
    with torch.no_grad():
        table = sine_cosine(model.grid, config.width, config.num_prefix_tokens)
        model.positions.copy_(table)
