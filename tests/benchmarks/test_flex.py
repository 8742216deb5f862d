"""The candidate of `benchmarks/gpu` that computes received attention by `flex_attention`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from spectrim.pruning.attention import Attention
from spectrim.pruning.tokens import Tokens


@pytest.fixture
def flex(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu")
    import flex

    yield flex
    del sys.modules["flex"]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("uneven", [False, True])
def test_received_attention_is_the_column_mean_of_the_softmax(flex, prefix, uneven):
    """In float64, from the whole map; also with sizes, and where clips have absent tokens."""
    torch.manual_seed(prefix)
    batch, heads, patches, width = 2, 3, 40, 16
    q, k, v = torch.randn(3, batch, heads, prefix + patches, width).mul(2).unbind()
    sizes = present = None
    if uneven:
        sizes = torch.randint(1, 9, (batch, patches)).float()
        present = torch.arange(patches) < torch.tensor([[patches], [17]])
    x = torch.zeros(batch, prefix + patches, 1)
    origin = torch.arange(patches).expand(batch, -1)
    tokens = Tokens(x, prefix, origin, sizes=sizes, present=present)
    bias = tokens.bias()
    mixed, received = flex.attention_with_received(Attention(q, k, v, bias), tokens)

    logits = q.double() @ k.double().mT / width**0.5
    weights = (logits if bias is None else logits + bias.double()).softmax(-1)
    torch.testing.assert_close(mixed.double(), weights @ v.double(), rtol=0, atol=1e-5)
    for clip in range(batch):
        there = torch.ones(patches, dtype=torch.bool) if present is None else present[clip]
        part = weights[clip, :, prefix:, prefix:][:, there][:, :, there]
        expected = part.mean((0, 1))
        torch.testing.assert_close(received[clip, there].double(), expected, rtol=0, atol=1e-6)
        assert expected.max() > 2 * expected.median()
