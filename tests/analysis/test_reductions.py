"""Counts of patches where tokens are merged, fused, or absent in some clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrim.analysis.figures.maps import FINE, inset
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.models.build import macs, prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage


@pytest.mark.parametrize("reduction", ["keep-top", "evit", "tome", "ats"])
def test_kept_patches_are_those_that_a_token_holds(make, heard, reduction):
    model = make("ast", depth=4)
    pruned = prune(model, 0.9 if reduction == "tome" else 0.7, blocks=(1, 2), reduction=reduction)
    runner = TorchRunner(pruned)
    features, valid = heard("dog", "rain", "digit")
    trace = pruned.trace(features, valid)
    inputs = runner.shared_inputs([np.zeros(16_000, np.float32)])
    inputs.features, inputs.valid, inputs.tokens = features, valid, {}
    kept = runner.predict(inputs)[1]
    assert kept.dtype == bool and kept.shape == (3, model.grid.count)
    assert np.array_equal(kept, trace.members[2].numpy() >= 0)
    if reduction in ("evit", "tome"):  # nothing is dropped
        assert kept.all()
    else:  # as many patches as tokens that are present
        present = trace.present[2]
        counts = torch.tensor([trace.kept[2].shape[1]] * 3) if present is None else present.sum(1)
        assert kept.sum(1).tolist() == counts.tolist()


def test_a_trace_has_one_score_for_each_block_and_none_for_absent_tokens(make, heard):
    features, valid = heard("dog", "rain", "digit")
    stages = (Stage(1, 0.7, score="intensity", place="before"), Stage(2, 0.8, reduction="ats"))
    trace = make("ast", depth=4).with_plan(Plan(stages)).trace(features, valid)
    assert len(trace.scores) == len(trace.positions) == 4
    assert trace.scores[1].shape[1] == 64  # before the stage in front of block 1
    present = trace.present[2]
    assert present is not None and not present.all()
    assert (trace.scores[3][~present] == -torch.inf).all()


@pytest.mark.parametrize("reduction", ["keep-top", "tome", "ats"])
def test_macs_are_the_same_in_train_mode(make, reduction):
    pruned = prune(make("ast", depth=4), 0.8, blocks=(1, 2), reduction=reduction)
    in_eval = macs(pruned)
    copy = pruned.with_plan(pruned.plan).train()
    assert macs(copy) == in_eval


def test_frames_of_neighbours_do_not_touch():
    left = np.array([[True, False], [True, False]])
    one, other = inset(left), inset(~left)
    assert one.shape == (2 * FINE + 2, 2 * FINE + 2)
    assert not (one * other).any()
    assert one.sum() == other.sum() == (2 * FINE - 2) * (FINE - 2)
