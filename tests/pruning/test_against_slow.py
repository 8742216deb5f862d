"""The paper's plan against a slow, obvious computation, on real clips."""

from __future__ import annotations

import oracle
import pytest
import torch

from parameters import each_value
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage

FAMILIES = ("ast", "audiomae")
PAPERS_SCORES = ("attention", "intensity", "variation", "random")  # that the oracle computes
BLOCKS = (3, 6, 9)


def slowly(model, features, valid, score, rates):
    """Slow logits and the pruning that made them, for one clip."""
    told = oracle.Pruning(model.config, features, int(valid), score)
    reduce = {block: told.at(block, rate) for block, rate in rates.items()}
    return oracle.forward(model, features, reduce), told


def picks(trace, model, block, row):
    return [model.grid.index(int(c), int(r)) for c, r in trace.kept[block][row]]


@pytest.mark.parametrize("score", PAPERS_SCORES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_papers_plan_equals_the_slow_computation(make, heard, family, score):
    model = make(family, dtype=torch.float64)
    features, valid = heard("dog", "digit", "clock", "word")
    assert valid.min() < model.config.frames  # short clips, padded
    rates = dict.fromkeys(BLOCKS, 0.7)
    trace = prune(model, 0.7, score).trace(features, valid)
    for row in range(len(features)):
        logits, told = slowly(model, features[row], valid[row], score, rates)
        assert [len(told.picks[block]) for block in BLOCKS] == [45, 32, 23]
        for block in BLOCKS:
            assert set(picks(trace, model, block, row)) == set(told.picks[block]), (row, block)
            scores = torch.tensor(told.scores[block])
            mine = trace.scores[block][row]
            # Sorted, since neighbours that differ by rounding may have changed places.
            assert torch.allclose(mine.sort().values, scores.sort().values, rtol=1e-4, atol=1e-6)
        assert torch.allclose(trace.logits[row].double(), logits, atol=1e-5, rtol=0)


@each_value(score=PAPERS_SCORES, family=FAMILIES)
def test_float32_equals_it_wherever_the_margin_is_above_rounding(make, heard, family, score):
    model, exact = (make(family, dtype=d, padding="zero") for d in (torch.float32, torch.float64))
    features, valid = heard("rain", "digit", "word", padding="zero")
    trace = prune(model, 0.6, score).trace(features, valid)
    compared = 0
    for row in range(len(features)):
        logits, told = slowly(exact, features[row], valid[row], score, dict.fromkeys(BLOCKS, 0.6))
        for block in BLOCKS:
            if told.margins[block] < 1e-4:
                break
            assert set(picks(trace, model, block, row)) == set(told.picks[block]), (row, block)
            compared += 1
        else:
            assert torch.allclose(trace.logits[row].double(), logits, atol=1e-3, rtol=0)
    assert compared >= 6


@pytest.mark.parametrize("family", FAMILIES)
def test_five_seconds_at_stride_10_equal_the_slow_computation(make, heard, family):
    model = make(family, frames=256, stride=10, depth=3, dtype=torch.float64)
    features, valid = heard("clock", frames=256)
    plan = Plan((Stage("input", 0.5, score="variation"), Stage(1, 0.55)))
    trace = model.with_plan(plan).trace(features, valid)
    told = oracle.Pruning(model.config, features[0], int(valid[0]), "variation")
    then = oracle.Pruning(model.config, features[0], int(valid[0]), "attention")
    reduce = {"input": told.at("input", 0.5), 1: then.at(1, 0.55)}
    logits = oracle.forward(model, features[0], reduce)
    assert picks(trace, model, "input", 0) == told.picks["input"]
    assert set(picks(trace, model, 1, 0)) == set(then.picks[1])
    assert torch.allclose(trace.logits[0].double(), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_test_models_attend_unevenly(make, heard, family):
    """Otherwise the comparisons above could not fail."""
    model = make(family)
    features, valid = heard("rain", "digit")
    whole = model(features, valid)
    for scores in model.trace(features, valid).scores:
        assert (scores.amax(1) > 2 * scores.mean(1)).all()
    for score in PAPERS_SCORES:
        assert (prune(model, 0.5, score)(features, valid) - whole).abs().amax() > 1e-2
