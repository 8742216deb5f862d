"""The explicit attention of a ranking block, a few heads at a time, against its definition."""

from __future__ import annotations

import pytest
import torch

from spectrim.pruning import attention
from spectrim.pruning.attention import Attention, explicit_attention
from spectrim.pruning.tokens import Tokens


@pytest.mark.parametrize("elements", [1, 2 * 11 * 11, 5 * 11 * 11, 10**9, None])
@pytest.mark.parametrize("masked", [False, True])
def test_any_number_of_heads_at_a_time_gives_the_definition(monkeypatch, elements, masked):
    monkeypatch.setattr(attention, "MAP_ELEMENTS", elements)
    if elements is None:  # as a compiler or an exporter sees it
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(0)
    batch, heads, count, num_prefix_tokens = 3, 4, 11, 2
    q, k, v = torch.randn(3, batch, heads, count, 8)
    origin = torch.arange(count - num_prefix_tokens).expand(batch, -1)
    present = torch.rand(batch, count - num_prefix_tokens) < 0.6 if masked else None
    tokens = Tokens(torch.randn(batch, count, 32), num_prefix_tokens, origin, present=present)
    mixed, received = explicit_attention(Attention(q, k, v, tokens.bias()), tokens)
    for clip in range(batch):
        patches = [
            i for i in range(count - num_prefix_tokens) if present is None or present[clip, i]
        ]
        there = [*range(num_prefix_tokens), *(num_prefix_tokens + i for i in patches)]
        columns = torch.zeros(len(patches))
        for head in range(heads):
            weights = torch.stack([
                torch.softmax(torch.stack([q[clip, head, i] @ k[clip, head, j] / 8**0.5
                                           for j in there]), 0)
                for i in there
            ])  # fmt: skip
            torch.testing.assert_close(mixed[clip, head, there], weights @ v[clip, head, there])
            columns += weights[num_prefix_tokens:, num_prefix_tokens:].mean(0) / heads
        torch.testing.assert_close(received[clip, patches], columns)
