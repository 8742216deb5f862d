"""What holds for all built-in reductions: equal cost, counted tokens, pooling, no waiting."""

from __future__ import annotations

import copy

import pytest
import torch

from cuda_graphs import replayed_logits
from parameters import each_value
from spectrim.common.errors import SpectrimError
from spectrim.models import block as block_module
from spectrim.models.build import macs, prune, shape_of
from spectrim.pruning import context as context_module
from spectrim.pruning.cost import Shape
from spectrim.pruning.matching import comparable_plan, usable_scores
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.scores import SCORES
from spectrim.pruning.stage import Stage, kept

# Blocks of the default plan, of a model of 12 blocks.
PAPERS, EVERY = [3, 6, 9], list(range(12))
BLOCKS = {"tome": EVERY, "pitome": EVERY, "adjacent": EVERY, "diffrate": EVERY[1:]}
SHAPE = Shape(patches=64, num_prefix_tokens=2, width=128, depth=12, classes=10)
each_family = pytest.mark.parametrize("family", ["ast", "audiomae"])


def slow_macs(rate: float, blocks: list[int], evit: bool = False) -> int:
    """Of `SHAPE`: one product of matrices after the other."""
    width, patches = 128, 64
    total = patches * 256 * width + width * 10
    for block in range(12):
        tokens = patches + 2
        total += 3 * tokens * width * width + tokens * width * width  # q, k, v and projection
        total += 2 * tokens * tokens * width  # weights, and their sums of values
        if block in blocks:
            left = kept(rate, patches)
            patches = max(left, patches // 2) if len(blocks) > 3 else left + evit
        total += 2 * (patches + 2) * width * 4 * width
    return total


# Matched plans


@each_value(reduction=list(REDUCTIONS), keep_rate=[0.9, 0.7, 0.5])
def test_a_matched_plan_costs_what_keep_top_costs_as_nearly_as_possible(reduction, keep_rate):
    plan = comparable_plan(SHAPE, keep_rate, "attention", reduction=reduction)
    assert [stage.at for stage in plan.stages] == BLOCKS.get(reduction, PAPERS)
    (rate,) = {stage.keep_rate for stage in plan.stages}
    if reduction not in BLOCKS:  # it acts where keep-top acts
        assert rate == keep_rate
        return
    target = slow_macs(keep_rate, PAPERS)
    distances = [abs(slow_macs(step / 1000, BLOCKS[reduction]) - target) for step in range(1, 1001)]
    assert abs(slow_macs(rate, BLOCKS[reduction]) - target) == min(distances)
    assert min(distances) < 0.02 * target
    assert rate > keep_rate


def test_given_blocks_take_the_keep_rate_as_it_is():
    plan = comparable_plan(SHAPE, 0.6, blocks=[1, 3], reduction="tome")
    assert plan == paper_plan(0.6, None, [1, 3], "tome", depth=12)


def test_scores_that_a_reduction_cannot_use_are_left_out():
    names = ["intensity", "attention", "random", "attention"]
    assert usable_scores("keep-top", names) == ["intensity", "attention", "random"]
    assert usable_scores("tome", names) == usable_scores("pitome", names) == [None]
    assert usable_scores("evit", names) == usable_scores("ats", names) == ["attention", "random"]
    with pytest.raises(SpectrimError, match=r"evit weighs patches .* none of intensity, variation"):
        usable_scores("evit", ["intensity", "variation"])


# Costs


@each_value(reduction=list(REDUCTIONS), family=["ast", "audiomae"])
def test_macs_are_those_of_the_tokens_of_each_block(make, heard, family, reduction):
    """In train and in eval mode; of a reduction whose clips differ, an upper bound."""
    pruned = prune(copy.deepcopy(make(family)), 0.8, reduction=reduction)
    counts = []

    def watch(tokens, context, stage, left):
        if context.place == "between":
            counts.append((tokens.count, left.count))

    with torch.no_grad():
        pruned.encode(*heard("dog", "digit"), watch=watch)
    shape = shape_of(pruned.config)
    width, prefix = shape.width, shape.num_prefix_tokens
    total = shape.patches * 256 * width + width * shape.classes
    for arriving, left in counts:
        tokens = arriving + prefix
        total += 4 * tokens * width**2 + 2 * tokens**2 * width + 8 * (left + prefix) * width**2
    assert counts[-1][1] < 64
    if reduction == "ats":
        assert total <= macs(pruned)
    else:
        assert total == macs(pruned)
    assert macs(pruned.train()) == macs(pruned.eval())


# Pooling


def test_a_token_that_evit_fused_counts_as_one_patch_in_the_mean(make, heard):
    """Alone, and after a merge, whose tokens count as many patches."""
    model = make("audiomae", depth=4, dtype=torch.float64)
    for stages in ((), (Stage(1, 0.7, reduction="tome"),)):
        pruned = model.with_plan(Plan((*stages, Stage(2, 0.5, reduction="evit"))))
        tokens = pruned.encode(*heard("dog", "digit"))
        held = tokens.holders(64)
        sizes = torch.stack([(held == place).sum(1) for place in range(tokens.count)], 1).double()
        assert (sizes[:, -1] > 10).all()  # the fused token holds many patches
        sizes[:, -1] = 1
        patches = model.norm(tokens.patches)
        mean = (patches * sizes[..., None]).sum(1) / sizes.sum(1, keepdim=True)
        expected = model.head(model.head_norm(mean))
        torch.testing.assert_close(
            pruned(*heard("dog", "digit")), expected.float(), check_dtype=False
        )
        if not stages:
            assert (sizes == 1).all()


# The context


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_input_of_the_block_is_known_to_a_stage(make, heard, norm_first):
    """Of the tokens that arrive, before attention; and after the MLP if no token was removed."""
    model = copy.deepcopy(make("ast", depth=3))
    for block in model.blocks:
        block.norm_first = norm_first
    features, valid = heard("dog", "digit")
    entered, inputs = [], []

    def watch(tokens, context, stage, left):
        if context.block == 1:
            inputs.append(context.block_input())

    hook = model.blocks[1].norm1.register_forward_pre_hook(lambda _, x: entered.append(x[0]))
    with torch.no_grad():
        before = model.encode(features, valid, stop=1)
        model.encode(features, valid, watch=watch, watch_after=True)
        hook.remove()
        assert len(inputs) == 2
        for value in inputs:
            assert torch.equal(value, before.x)
        if norm_first:
            assert torch.equal(entered[0], before.x)

    def moved(context):
        x = context.block_input()
        return (context.tokens.x - x)[:, context.tokens.num_prefix_tokens :].norm(dim=-1)

    tokens = model.with_plan(Plan((Stage(1, 0.5, score=moved),))).encode(features, valid)
    assert tokens.count == 32
    late = Plan((Stage(1, 0.5), Stage(1, 0.5, score=moved, place="after")))
    with pytest.raises(SpectrimError, match="block 1 belongs to other tokens"):
        model.with_plan(late)(features, valid)
    with pytest.raises(SpectrimError, match="before the first block"):
        model.with_plan(Plan((Stage("input", 0.5, score=moved),)))(features, valid)


@pytest.mark.parametrize("score", SCORES)
def test_the_attention_map_is_computed_for_scores_that_read_it_only(
    make, heard, monkeypatch, score
):
    """`shift` prunes AudioMAE without an explicit softmax."""
    calls = []
    for module, names in (
        (context_module, ("explicit_attention", "attention_map")),
        (block_module, ("explicit_attention",)),
    ):
        for name in names:
            real = getattr(module, name)
            monkeypatch.setattr(
                module, name, lambda *words, real=real: calls.append(1) or real(*words)
            )
    pruned = prune(make("audiomae", depth=3), 0.5, score, (1,))
    pruned(*heard("dog"))
    reads = score in ("attention", "received", "value-attention", "head-max", "pagerank")
    assert bool(calls) == reads


# Devices


@each_value(reduction=list(REDUCTIONS), family=["ast", "audiomae"])
def test_the_forward_pass_waits_for_no_value_of_the_device(make, family, reduction):
    """Tensors on "meta" have no values: `.item()`, `nonzero` and shapes made of values fail.

    Reductions whose clips keep different numbers read those numbers.
    """
    model = copy.deepcopy(make(family, depth=4)).to("meta")
    pruned = prune(model, 0.8, blocks=(0, 2), reduction=reduction)
    features = torch.empty(3, 128, 128, device="meta")
    valid = torch.empty(3, dtype=torch.long, device="meta")
    if reduction == "ats":
        with pytest.raises((RuntimeError, NotImplementedError)):
            pruned(features, valid)
        return
    logits = pruned(features, valid)
    assert logits.shape == (3, 5)
    pruned.train()(features, valid).sum().backward()


@pytest.mark.gpu
@pytest.mark.parametrize("reduction", [name for name in REDUCTIONS if name != "ats"])
@each_family
def test_a_cuda_graph_captures_it_without_synchronisation(make, family, reduction):
    pruned = prune(
        copy.deepcopy(make(family, depth=4)).cuda(), 0.8, None, (0, 2), reduction=reduction
    )
    features = torch.randn(3, 128, 128, device="cuda")
    valid = torch.tensor([128, 60, 20], device="cuda")
    with torch.inference_mode():
        expected = pruned(features, valid)
    logits = replayed_logits(pruned, features, valid)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
