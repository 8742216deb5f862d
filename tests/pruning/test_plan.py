"""Counts, places and names in a plan, and what bad ones get."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.build import prune
from spectrim.pruning.defaults import REDUCTION_NAMES, SCORE_NAMES
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.scores import SCORES
from spectrim.pruning.stage import Stage, kept

FAMILIES = ("ast", "audiomae")


def test_055_of_100_is_55():
    assert kept(0.55, 100) == 55
    assert math.ceil(0.55 * 100) == 56  # what floating point alone would give


@given(hundredths=st.integers(1, 100), arriving=st.integers(1, 5000))
def test_counts_equal_exact_decimal_arithmetic(hundredths, arriving):
    exact = Decimal(hundredths) / 100 * arriving
    assert kept(hundredths / 100, arriving) == int(exact.to_integral_value(ROUND_CEILING))


@given(rates=st.lists(st.integers(1, 100), min_size=3, max_size=3), patches=st.integers(1, 1212))
def test_rates_compound_over_the_stages(rates, patches):
    plan = paper_plan([rate / 100 for rate in rates])
    counts, left = plan.counts(patches, 12), patches
    for block in range(12):
        arriving = left
        if block in (3, 6, 9):
            left = -(-rates[block // 3 - 1] * arriving // 100)
        assert counts[block] == (arriving, left)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, [3, 6, 9]), (24, [3, 6, 9]), (8, [2, 4, 6]), (4, [1, 2, 3])]
)
@pytest.mark.parametrize("reduction", ["keep-top", "evit", "segments", "ats"])
def test_default_blocks_fit_short_models(depth, blocks, reduction):
    plan = paper_plan(0.7, depth=depth, reduction=reduction)
    assert [stage.at for stage in plan.stages] == blocks


@pytest.mark.parametrize("family", FAMILIES)
def test_a_list_of_keep_rates_counts_and_other_blocks(make, heard, family):
    features, valid = heard("dog", "digit")
    model = make(family)
    shapes = [s.shape[1] for s in prune(model, [0.9, 0.5, 0.25]).trace(features, valid).scores]
    assert shapes == [64] * 4 + [58] * 3 + [29] * 3 + [8] * 2
    plan = Plan((Stage(0, count=40), Stage(5, count=50), Stage(6, 0.5), Stage(11, count=1)))
    trace = model.with_plan(plan).trace(features, valid)
    assert [s.shape[1] for s in trace.scores] == [64] + [40] * 6 + [20] * 5
    assert trace.kept[11].shape == (2, 1, 2)


@pytest.mark.parametrize("score", ["intensity", "variation", "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stage_at_the_input(make, heard, family, score):
    features, valid = heard("dog", "digit")
    pruned = prune(make(family, depth=4), 0.5, score, ("input", 2))
    trace = pruned.trace(features, valid)
    assert [s.shape[1] for s in trace.scores] == [32, 32, 32, 16]
    assert trace.kept["input"].shape == (2, 32, 2)
    assert torch.equal(trace.logits, pruned(features, valid))


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_at_the_input_is_a_clear_error(make, heard, family):
    """When it is asked for, rather than after an epoch of training."""
    said = r"no attention before the first block.*'intensity'"
    with pytest.raises(SpectrimError, match=said):
        prune(make(family, depth=4), 0.5, "attention", ("input", 2))
    own = prune(make(family, depth=4), 0.5, lambda context: context.column_mean(), ("input",))
    with pytest.raises(SpectrimError, match=said):  # what a score of one's own reads nobody knows
        own(*heard("digit"))


@pytest.mark.parametrize(
    "rate",
    [0, 0.0, -0.1, 1.5, math.nan, math.inf, "0.7", "much", True, None, [0.5, 0.5], [0, 1, 1]],
)
def test_bad_keep_rates(make, heard, rate):
    model = make("ast")
    with pytest.raises(SpectrimError, match="keep rate"):
        prune(model, rate)
    if rate is not None:  # None: the plan's own
        with pytest.raises(SpectrimError, match="keep rate"):
            prune(model, 0.5)(*heard("digit"), keep_rate=rate)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ((6, 3), "expected each block at most once, in order, 'input' first"),
        ((3, 3), "each block at most once"),
        ((3, "input"), "'input' first"),
        ((3, 12), "12 blocks count from 0 to 11"),
        ((-1,), "a block from 0"),
        ((3.0,), "a block from 0"),
        ((True,), "a block from 0"),
        (("output",), "'input' or a block"),
    ],
)
def test_bad_blocks(make, blocks, words):
    with pytest.raises(SpectrimError, match=words):
        prune(make("ast"), 0.7, "intensity", blocks)


@pytest.mark.parametrize("count", [0, -1, 1.0, True])
def test_bad_counts(count):
    with pytest.raises(SpectrimError, match="count"):
        Stage(3, count=count)


def test_a_rate_or_a_count_and_not_both():
    for values in ({}, {"keep_rate": 0.5, "count": 3}):
        with pytest.raises(SpectrimError, match="either a keep rate or a count"):
            Stage(3, **values)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("atention", "attention"), ("intensty", "intensity"), ("varation", "variation")],
)
def test_an_unknown_score_offers_the_nearest(make, name, nearest):
    with pytest.raises(SpectrimError, match=f"Did you mean '{nearest}'"):
        prune(make("ast"), 0.7, name)


def test_an_unknown_reduction_offers_the_nearest(make):
    with pytest.raises(SpectrimError, match="Did you mean 'keep-top'"):
        prune(make("ast"), 0.7, reduction="keeptop")


def test_only_a_model_is_pruned():
    with pytest.raises(SpectrimError, match="from_transformers"):
        prune(torch.nn.Linear(2, 2), 0.7)


def test_plans_are_data_with_a_version():
    plan = Plan((Stage("input", 0.9, score="random"), Stage(3, count=20)), seed=7)
    assert Plan.from_dict(plan.to_dict()) == plan
    assert plan.to_dict()["version"] == 2
    with pytest.raises(SpectrimError, match="version 4; this Spectrim reads versions 1 to 3"):
        Plan.from_dict(plan.to_dict() | {"version": 4})
    assert [s.keep_rate for s in plan.with_keep_rate(0.4).stages] == [0.4, None]
    assert plan.stages[0].keep_rate == 0.9


def test_the_scores_of_version_1_included_padding():
    scores = ("attention", "intensity", "variation", "random")
    stages = tuple(Stage(block, 0.5, score=score) for block, score in enumerate(scores))
    saved = Plan(stages).to_dict()
    assert [s.score for s in Plan.from_dict(saved).stages] == list(scores)
    old = Plan.from_dict(saved | {"version": 1})
    assert [s.score for s in old.stages] == [
        "attention", "intensity-padded", "variation-padded", "random"
    ]  # fmt: skip
    assert Plan.from_dict(old.to_dict()) == old


def column_mean(context):
    return context.column_mean()


def test_the_old_name_of_trust_code_warns():
    plan = Plan((Stage(3, 0.5, score=f"{__name__}:column_mean"),))
    with pytest.warns(SpectrimNotice, match="own_code=.* is deprecated: write trust_code="):
        assert Plan.from_dict(plan.to_dict(), own_code=True) == plan
    with (
        pytest.warns(SpectrimNotice, match="deprecated"),
        pytest.raises(SpectrimError, match="trust_code=True"),
    ):
        Plan.from_dict(plan.to_dict(), own_code=False)


def test_another_keep_rate_leaves_the_seed(make, heard):
    plan = Plan((Stage(3, 0.9, score="random"),), seed=7)
    assert plan.with_keep_rate(0.4).seed == 7
    pruned = prune(make("ast", depth=4), 0.5, "random", (2,), seed=7)
    features, valid = heard("dog", "digit")
    assert torch.equal(pruned(features, valid, keep_rate=0.5), pruned(features, valid))


def test_names_for_help_texts_are_those_of_the_registries():
    assert sorted(REDUCTION_NAMES) == sorted(REDUCTIONS)
    assert sorted(SCORE_NAMES) == sorted(SCORES)
