"""A small ViT with a reduction in its blocks equals the original implementation, block by block.

The whole of `encode` runs, from the tokens that enter block 0.
"""

from __future__ import annotations

import functools

import originals
import pytest
import torch
from originals import array, tensor
from safetensors.torch import load_file

from spectrim.models.presets import from_family
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

SOURCE = "complete"
each_prefix = pytest.mark.parametrize("prefix", [0, 1, 2])
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
# Scores and log sizes are float32 in a model of any dtype, so float64 reaches 1e-6 where they
# enter the tokens.
LIMITS = {torch.float64: 1e-10, torch.float32: 2e-5}


@functools.cache
def vit(prefix: int, dtype: torch.dtype) -> SpectrogramTransformer:
    originals.require(SOURCE)
    config = from_family(
        "ast", name="t", labels=("a", "b"), width=64, heads=2, depth=4, frames=160, mels=64,
        num_prefix_tokens=prefix, pool="prefix" if prefix else "patches",
    )  # fmt: skip
    model = SpectrogramTransformer(config)
    weights = load_file(originals.COMPLETE / "vit.safetensors")
    missing, _ = model.load_state_dict(weights, strict=False)
    assert not [name for name in missing if name.startswith("blocks")]
    return model.to(dtype).eval()


def after_blocks(prefix, dtype, plan, clip=None) -> list[Tokens]:
    """The tokens after each block of the small ViT under a plan."""
    model = vit(prefix, dtype)
    x = tensor(SOURCE, "inputs", f"vit/s{prefix}/x0").to(dtype)
    x = x if clip is None else x[clip : clip + 1]
    start = Tokens(x, prefix, torch.arange(40).expand(len(x), -1))
    outputs = []

    def watch(before, context, stage, after):
        if context.place == "after":
            outputs.append(after)

    model.tokenize = lambda features: start  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            model.encode(torch.zeros(len(x), 160, 64), watch=watch, watch_after=True, plan=plan)
    finally:
        del model.tokenize
    return outputs


def assert_blocks(outputs, method, case, limit, sort=()):
    for block, tokens in enumerate(outputs):
        stored = tensor(SOURCE, method, f"{case}/block{block}")
        x = tokens.x.double()
        if block in sort:
            x, stored = _sorted_patches(x), _sorted_patches(stored)
        assert x.shape == stored.shape
        assert torch.allclose(x, stored, rtol=0, atol=limit), (block, (x - stored).abs().max())


def _sorted_patches(x):
    """(batch, tokens, width): tokens in the order of their first value."""
    return torch.stack([clip[clip[:, 0].argsort()] for clip in x])


def assert_members_and_sizes(tokens, method, case, limit):
    expected = tensor(SOURCE, method, f"{case}/members").long()
    assert torch.equal(originals.whole_members(tokens, 40), expected)
    sizes = tensor(SOURCE, method, f"{case}/size")
    assert torch.allclose(originals.whole_sizes(tokens).double(), sizes, rtol=0, atol=limit)


@each_prefix
@each_dtype
def test_evit(prefix, dtype):
    plan = Plan(tuple(Stage(block, 0.7, reduction="evit") for block in (1, 2, 3)))
    outputs = after_blocks(prefix, dtype, plan)
    assert_blocks(
        outputs, "evit", f"vit/s{prefix}_k0.7_fuse", 1e-6 if dtype == torch.float64 else 2e-5
    )
    plan = Plan(tuple(Stage(block, 0.5) for block in (1, 2, 3)))
    outputs = after_blocks(prefix, dtype, plan)
    assert_blocks(outputs, "evit", f"vit/s{prefix}_k0.5_drop", LIMITS[dtype])


@each_dtype
@pytest.mark.parametrize("case", ["s0_prop", "s1_prop", "s1_noprop", "s2_prop"])
def test_tome(case, dtype):
    options = {"proportional": case.endswith("_prop")}
    stages = (
        Stage(block, count=count, reduction="tome", reduction_options=options)
        for block, count in enumerate((34, 28, 23, 18))
    )
    outputs = after_blocks(int(case[1]), dtype, Plan(tuple(stages)))
    assert_blocks(outputs, "tome", f"vit/{case}", LIMITS[dtype])
    assert_members_and_sizes(outputs[-1], "tome", f"vit/{case}", LIMITS[dtype])


@pytest.mark.parametrize("case", ["s1_prop", "s1_noprop"])
def test_pooling_by_size_is_that_of_tome_for_mae(case):
    """The mean over all but the first token, weighted by size, over the input patches."""
    options = {"proportional": case.endswith("_prop")}
    stages = (
        Stage(block, count=count, reduction="tome", reduction_options=options)
        for block, count in enumerate((34, 28, 23, 18))
    )
    tokens = after_blocks(1, torch.float64, Plan(tuple(stages)))[-1]
    weights = tokens.weights()
    pooled = (tokens.patches * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
    stored = tensor(SOURCE, "tome", f"vit/{case}/mae_pool")
    assert torch.allclose(pooled, stored, rtol=0, atol=1e-10)


@each_prefix
@each_dtype
def test_pitome(prefix, dtype):
    case = f"vit/s{prefix}_ratio0.85"
    originals.require(SOURCE)
    is_bsm = array(SOURCE, "pitome", f"{case}/bsm")
    stages = tuple(
        Stage(
            block,
            0.85,
            reduction="pitome",
            reduction_options={"variant": "bsm" if is_bsm[block] else "plain"},
        )
        for block in range(4)
    )
    outputs = after_blocks(prefix, dtype, Plan(stages))
    assert_blocks(outputs, "pitome", case, LIMITS[dtype])
    assert_members_and_sizes(outputs[-1], "pitome", case, LIMITS[dtype])
    if prefix:  # the variants by default are those of the original with a class token
        plan = Plan(tuple(Stage(block, 0.85, reduction="pitome") for block in range(4)))
        assert torch.equal(after_blocks(prefix, dtype, plan)[-1].x, outputs[-1].x)


@each_prefix
@each_dtype
def test_diffrate(prefix, dtype):
    counts = ((40, 40), (34, 30), (26, 22), (18, 14))
    stages = tuple(
        Stage(block, count=count, reduction="diffrate", reduction_options={"prune_to": prune_to})
        for block, (prune_to, count) in enumerate(counts)
    )
    outputs = after_blocks(prefix, dtype, Plan(stages))
    # Block 0 removes nothing: the original sorts its patches, Spectrim leaves them.
    case = f"vit/s{prefix}"
    assert_blocks(outputs, "diffrate", case, LIMITS[dtype], sort=(0,))
    assert_members_and_sizes(outputs[-1], "diffrate", case, LIMITS[dtype])


@each_dtype
@pytest.mark.parametrize("clip", [0, 1])
def test_ats_of_a_clip_alone(clip, dtype):
    stages = (
        Stage(block, count=40, reduction="ats", score="value-attention") for block in (1, 2, 3)
    )
    outputs = after_blocks(1, dtype, Plan(tuple(stages)), clip)
    assert all(tokens.present is None for tokens in outputs)
    # The original stores patches in ascending order of score, Spectrim in descending order.
    ascending = [outputs[0]]
    for tokens in outputs[1:]:
        x = torch.cat([tokens.x[:, :1], tokens.x[:, 1:].flip(1)], 1)
        ascending.append(tokens.with_x(x))
    limit = 5e-6 if dtype == torch.float64 else 5e-5
    assert_blocks(ascending, "ats", f"vit/s1_alone{clip}", limit)


def test_ats_of_a_batch_equals_its_clips_alone():
    """The original's clips depend on their batch: 18 and 22 tokens instead of 17 and 20."""
    stages = (
        Stage(block, count=40, reduction="ats", score="value-attention") for block in (1, 2, 3)
    )
    batch = after_blocks(1, torch.float64, Plan(tuple(stages)))[-1]
    assert batch.present.sum(1).tolist() == [16, 19]
    for clip, count in enumerate((16, 19)):
        stored = tensor(SOURCE, "ats", f"vit/s1_alone{clip}/block3")[0]
        x = batch.x[clip, : 1 + count]
        x = torch.cat([x[:1], x[1:].flip(0)])
        assert torch.allclose(x, stored, rtol=0, atol=5e-6)
