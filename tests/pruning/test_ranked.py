"""The order of patches: by score, ties by lower patch index, in eager, compiled and exported."""

from __future__ import annotations

import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrim.pruning.ranking import ranked
from spectrim.pruning.tokens import Tokens

NEGATIVE_NAN = struct.unpack("f", struct.pack("I", 0xFFC00001))[0]


def tokens_of(origin, present=None):
    x = torch.zeros(*origin.shape, 4)
    return Tokens(x, 0, origin, present=present)


def obvious(scores, origin, present):
    """Python's own sort: present first, NaN highest, then by score, then by index."""

    def key(j):
        nan = math.isnan(scores[j])
        return (not present[j], not nan, 0.0 if nan else -scores[j], origin[j])

    there = [j for j in range(len(scores)) if present[j]]
    return sorted(there, key=key)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_order_is_that_of_python(data):
    width = st.sampled_from([16, 32])
    count = data.draw(st.integers(1, 12))
    values = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45]),
        st.floats(width=data.draw(width)),
    )
    scores = torch.tensor([data.draw(st.lists(values, min_size=count, max_size=count))])
    if data.draw(st.booleans()):
        scores = torch.where(scores.isnan(), NEGATIVE_NAN, scores)
    origin = torch.tensor([data.draw(st.permutations(range(0, 7 * count, 7)))])
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.float16]))
    scores = scores.to(dtype)
    present = torch.tensor([data.draw(st.lists(st.booleans(), min_size=count, max_size=count))])
    expected = obvious(scores[0].tolist(), origin[0].tolist(), present[0].tolist())
    order = ranked(tokens_of(origin, present), scores)
    assert sorted(order[0].tolist()) == list(range(count))
    assert order[0, : len(expected)].tolist() == expected
    first = data.draw(st.integers(1, count))
    assert torch.equal(ranked(tokens_of(origin, present), scores, first), order[:, :first])


def test_float64_scores_that_float32_cannot_tell_apart_keep_their_order():
    scores = torch.tensor([[1.0, 1.0 + 1e-12, 1.0 + 2e-12]], dtype=torch.float64)
    assert ranked(tokens_of(torch.arange(3)[None]), scores).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("count", [3, 512])
def test_compiled_and_exported_order_is_the_eager_one(count):
    torch.manual_seed(0)
    scores = torch.randn(4, count).round(decimals=1)  # many ties
    origin = torch.stack([torch.randperm(2 * count)[:count] for _ in range(4)])

    class Order(torch.nn.Module):
        def forward(self, scores, origin):
            return ranked(tokens_of(origin), scores, count - 1)

    eager = Order()(scores, origin)
    compiled = torch.compile(Order(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores, origin), eager)
    exported = torch.export.export(Order(), (scores, origin)).module()
    assert torch.equal(exported(scores, origin), eager)
