"""The attention that patches receive, by `flex_attention` with its roles swapped; a candidate.

The log-sum-exp of row j of the swapped attention, over s_ij - l_i, is the logarithm of column j's
sum, where l_i is the log-sum-exp of row i of the block's attention.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

from spectrim.pruning.attention import Attention
from spectrim.pruning.tokens import Tokens


@functools.cache
def _compiled() -> Any:
    # Without compilation flex_attention computes the whole map.
    return torch.compile(flex_attention, dynamic=False)


def _flex(*tensors: Tensor, score_mod: Any) -> tuple[Tensor, Tensor]:
    inside = torch.compiler.is_compiling() or not tensors[0].is_cuda
    call = flex_attention if inside else _compiled()
    out, more = call(*tensors, score_mod=score_mod, return_aux=AuxRequest(lse=True))
    return out, more.lse


def attention_with_received(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """As `explicit_attention`."""
    first = tokens.num_prefix_tokens
    bias = None if a.bias is None else a.bias[:, 0, 0].float()

    def biased(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + bias[batch, key]  # type: ignore[index]

    mixed, row_sums = _flex(a.q, a.k, a.v, score_mod=None if bias is None else biased)
    row_sums = row_sums[:, :, first:].contiguous()
    num_queries: Tensor | int = tokens.count
    if tokens.present is not None:
        row_sums = row_sums.masked_fill(~tokens.present[:, None], torch.inf)
        num_queries = tokens.present.sum(1, keepdim=True)

    def swapped(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score - row_sums[batch, head, key]

    keys, queries = a.k[:, :, first:], a.q[:, :, first:]
    # Only the log-sum-exp of this pass counts; a narrow value costs little.
    _, sums = _flex(keys, queries, queries[..., :16], score_mod=swapped)
    sums = sums.exp()
    if bias is not None:
        sums = sums * bias[:, None, first:].exp()
    return mixed, sums.mean(1) / num_queries
