"""A transformer block as two halves; tokens are pruned between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..pruning.attention import Attention, explicit_attention
from ..pruning.context import Clips, Context
from ..pruning.tokens import Tokens


class Block(nn.Module):
    """A transformer block as two halves; tokens are pruned between them.

    Pre-norm (AST): x = x + attention(norm1(x)), then x = x + mlp(norm2(x)).
    Post-norm (EAT): x = norm1(x + attention(x)), then x = norm2(x + mlp(x)).
    """

    def __init__(self, width: int, heads: int, eps: float, norm_first: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm_first = norm_first
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
        """Self-attention, residual and (post-norm) `norm1`.

        Returns the tokens and the context for a ranking.

        Args:
            explicit: compute the softmaxed attention map, because a ranking needs it, and use
                it for the output too; otherwise attention is fused and has no map.
        """
        x = self.norm1(tokens.x) if self.norm_first else tokens.x
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = Attention(q, k, v, tokens.bias())
        if explicit:
            mixed, attention.column_mean = explicit_attention(attention, tokens)
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attention.bias)
        mixed = self.proj(mixed.transpose(1, 2).flatten(2))
        x = tokens.x + self._dropped(mixed)
        entered = tokens.x
        tokens = tokens.with_x(x if self.norm_first else self.norm1(x))
        return tokens, Context(clips, tokens, index, attention, block_input=entered)

    def transform(self, tokens: Tokens) -> Tokens:
        """MLP, residual and (post-norm) `norm2`."""
        x = self.norm2(tokens.x) if self.norm_first else tokens.x
        x = tokens.x + self._dropped(self.fc2(functional.gelu(self.fc1(x))))
        return tokens.with_x(x if self.norm_first else self.norm2(x))

    def _dropped(self, residual: Tensor) -> Tensor:
        """Drop path (arXiv 1603.09382): in training, drop the residual of random clips."""
        if not self.training or self.drop_path == 0.0:
            return residual
        stays = torch.rand(len(residual), 1, 1, device=residual.device) >= self.drop_path
        return residual * stays / (1 - self.drop_path)
