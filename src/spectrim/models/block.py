"""A pre-norm transformer block as two halves; tokens are pruned between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..pruning.attention import Attention, explicit_attention
from ..pruning.context import Clips, Context
from ..pruning.tokens import Tokens


class Block(nn.Module):
    """A pre-norm transformer block as two halves; tokens are pruned between them."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop_path = 0.0  # set by a training run, not stored with the model

    def attend(
        self, tokens: Tokens, clips: Clips, index: int, explicit: bool
    ) -> tuple[Tokens, Context]:
        """Self-attention and residual; returns the tokens and the context for a ranking.

        Args:
            explicit: compute the softmaxed attention map, because a ranking needs it, and use
                it for the output too; otherwise attention is fused and has no map.
        """
        qkv = self.qkv(self.norm1(tokens.x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = Attention(q, k, v, tokens.bias())
        if explicit:
            mixed, attention.column_mean = explicit_attention(attention, tokens)
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attention.bias)
        mixed = self.proj(mixed.transpose(1, 2).flatten(2))
        tokens = tokens.with_x(tokens.x + self._dropped(mixed))
        return tokens, Context(clips, tokens, index, attention)

    def transform(self, tokens: Tokens) -> Tokens:
        """MLP and residual."""
        hidden = functional.gelu(self.fc1(self.norm2(tokens.x)))
        return tokens.with_x(tokens.x + self._dropped(self.fc2(hidden)))

    def _dropped(self, residual: Tensor) -> Tensor:
        """Drop path (arXiv 1603.09382): in training, drop the residual of random clips."""
        if not self.training or self.drop_path == 0.0:
            return residual
        stays = torch.rand(len(residual), 1, 1, device=residual.device) >= self.drop_path
        return residual * stays / (1 - self.drop_path)
