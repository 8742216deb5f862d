"""Scores equal the formulas of their papers, evaluated on the attention of a small ViT."""

from __future__ import annotations

from dataclasses import replace

import originals
import pytest
import torch
from originals import cases, num_prefix_tokens, tensor

from spectrim.pruning.attention import Attention
from spectrim.pruning.context import Clips, Context
from spectrim.pruning.scores import SCORES
from spectrim.pruning.tokens import Tokens

each_case = pytest.mark.parametrize(("source", "case"), cases("scores", r"block1/s\d"))

# Scores are float32 by design; the numbers lie below 1, and those of `shift` below 10.
LIMIT = 2e-6


def context_of(source, case, *, place="between", has_class_token=None):
    """The context of the stored block; S = 0 has no class token."""
    prefix = num_prefix_tokens(case)
    q, k, v = (tensor(source, "scores", f"{case}/{name}") for name in "qkv")
    before = Tokens(
        tensor(source, "scores", f"{case}/x_mid"), prefix, torch.arange(40).expand(len(q), -1)
    )
    has_class_token = prefix > 0 if has_class_token is None else has_class_token
    clips = Clips(
        torch.zeros(len(q), 160, 64),
        torch.full((len(q),), 160),
        originals.PatchGrid(160, 64),
        has_class_token,
        depth=4,
    )
    context = Context(clips, before, 1, Attention(q, k, v, None))
    if place == "after":
        after = before.with_x(tensor(source, "scores", f"{case}/x_out"))
        context = context.after_mlp(before, after)
    return context


def assert_scores(name, context, expected, **options):
    scores = SCORES[name](context, **options)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores.double(), expected, rtol=2e-6, atol=LIMIT)


@each_case
def test_scores_of_attention_and_values(source, case):
    originals.require(source)
    prefix = num_prefix_tokens(case)
    context = context_of(source, case)
    heads = tensor(source, "scores", f"{case}/class_row_heads") if prefix else None
    column_mean = tensor(source, "scores", f"{case}/column_mean")
    assert_scores("received", context, column_mean)
    assert_scores("value-attention", context, tensor(source, "scores", f"{case}/ats_code"))
    if heads is None:
        heads = context.attention_map().mean(2)
    assert_scores("head-max", context, heads.amax(1))
    assert_scores("attention", context, heads.mean(1))


@each_case
def test_shift(source, case):
    originals.require(source)
    context = context_of(source, case, place="after")
    assert_scores("shift", context, tensor(source, "scores", f"{case}/shift_mlp"))


@each_case
@pytest.mark.parametrize("iterations", [5, 30])
def test_pagerank(source, case, iterations):
    """The fixture stores heads and variances apart; a head outside 0.01 to 0.7 does not count."""
    originals.require(source)
    name = f"{case}/wpr{iterations}"
    heads = tensor(source, "scores", f"{name}_heads")  # (batch, heads, patches)
    variances = tensor(source, "scores", f"{name}_variance_of_n_times_s")
    expected = []
    for clip, of_heads in zip(heads, variances, strict=True):
        chosen = [h for h, variance in zip(clip, of_heads, strict=True) if 0.01 <= variance <= 0.7]
        expected.append(torch.stack(chosen).square().mean(0).sqrt())
    assert len(chosen) == 1  # one head of two is filtered out
    context = context_of(source, case)
    assert_scores("pagerank", context, torch.stack(expected), iterations=iterations)
    # Without the filter: the stored root mean square over all heads.
    stored = tensor(source, "scores", name)
    assert torch.allclose(heads.square().mean(1).sqrt(), stored, atol=LIMIT)
    assert not torch.allclose(torch.stack(expected), stored, atol=1e-4)


@pytest.mark.parametrize("name", ["received", "value-attention", "head-max", "pagerank"])
@pytest.mark.parametrize("has_class_token", [True, False])
def test_scores_ignore_absent_tokens(name, has_class_token):
    """A clip with absent tokens has the scores of the clip without them."""
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 1, 2, 11, 4).mul(2).unbind()
    absent = torch.tensor([3, 7])
    present = torch.ones(1, 10, dtype=torch.bool)
    present[:, absent] = False
    keep = torch.cat([torch.tensor([True]), present[0]])
    grid = originals.PatchGrid(160, 16)

    def scores(tokens, q, k, v):
        clips = Clips(torch.zeros(1, 160, 16), torch.tensor([160]), grid, has_class_token)
        return SCORES[name](Context(clips, tokens, 1, Attention(q, k, v, tokens.bias())))

    tokens = Tokens(torch.randn(1, 11, 8), 1, torch.arange(10)[None], present=present)
    alone = replace(tokens, x=tokens.x[:, keep], origin=tokens.origin[:, present[0]], present=None)
    whole = scores(tokens, q, k, v)[:, present[0]]
    expected = scores(alone, q[:, :, keep], k[:, :, keep], v[:, :, keep])
    assert torch.allclose(whole, expected, atol=1e-6)
