"""Plans over the same weights share the blocks before their first stages, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch

import spectrim
from parameters import each_value
from spectrim.deploy.torch_runner import SharedBlocks, TorchRunner


@pytest.fixture(scope="module")
def inputs(heard):
    return heard("dog", "digit")


@each_value(
    ([3, 6, 9], "audiomae"), blocks=[[3, 6, 9], [1, 2], [0], ["input", 6], [11]],
    family=["ast", "audiomae"],
)  # fmt: skip
def test_a_plan_that_continues_equals_one_that_runs_alone(make, inputs, family, blocks):
    scores = ["intensity"] if "input" in blocks else ["attention", "variation", "random"]
    model = make(family)
    shared = SharedBlocks(*inputs)
    for score in scores:
        for keep_rate in (0.8, 0.3):
            pruned = spectrim.prune(model, keep_rate, score, blocks)
            logits, kept, _ = TorchRunner(pruned).predict(shared)
            alone = pruned.encode(*inputs)
            held = alone.holders(model.grid.count) >= 0
            assert torch.equal(torch.from_numpy(kept), held)
            assert torch.equal(torch.from_numpy(logits), pruned(*inputs))
    logits = TorchRunner(model).predict(shared).outputs
    assert torch.equal(torch.from_numpy(logits), model(*inputs))


def test_the_shared_blocks_run_once(make, inputs):
    """Blocks 0 to 2 once for three plans with a first stage at block 3; block 3 in each plan."""
    model, calls = copy.deepcopy(make("ast")), []
    variants = [spectrim.prune(model, rate, "attention") for rate in (0.9, 0.7, 0.5)]
    for variant in variants:
        for index, block in enumerate(variant.blocks):
            block.qkv.register_forward_hook(lambda *_, index=index: calls.append(index))
    shared = SharedBlocks(*inputs)
    for variant in variants:
        TorchRunner(variant).predict(shared)
    assert [calls.count(index) for index in range(12)] == [1, 1, 1] + [3] * 9


def test_models_with_other_weights_share_no_blocks(make, inputs):
    model = make("ast")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[0].fc1.weight.mul_(2)
    shared = SharedBlocks(*inputs)
    results = [TorchRunner(spectrim.prune(m, 0.5)).predict(shared)[0] for m in (model, other)]
    assert torch.equal(torch.from_numpy(results[1]), spectrim.prune(other, 0.5)(*inputs))
    assert (results[0] != results[1]).any()
