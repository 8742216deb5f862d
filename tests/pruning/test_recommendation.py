"""Recommended plans as data, and the generic one of a model on which none was measured."""

from __future__ import annotations

import sys

import pytest

from extensions import Learned
from spectrim.common.errors import SpectrimError
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.recommendation import Recommendation, generic
from spectrim.pruning.saved_plans import Measured, plan_label
from spectrim.pruning.trained_range import TrainedRange

MEASURED = Measured("FSDD test, 300 clips", 300, "accuracy", 0.983, 0.98, 0.997, 1.8)


def test_a_recommendation_is_read_as_it_was_written():
    plan = paper_plan([0.9, 0.7, 0.5], "value-attention", reduction="evit", seed=3)
    for measured in (MEASURED, None):
        recommendation = Recommendation(plan, measured)
        assert Recommendation.from_dict(recommendation.to_dict()) == recommendation
    text = str(Recommendation(paper_plan(0.9, reduction="tome", depth=6), MEASURED))
    assert text == (
        "tome 0.9 at 0-5; accuracy 98.0% (unpruned 98.3%) at 56% of the MACs on FSDD test, 300 "
        "clips"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": None}, "expected keys and values"),
        ({"plan": {"version": 9, "stages": []}}, "a plan of version 9"),
        ({"measured": 7}, "measured on is 7"),
        ({"measured": {"data": "x"}}, "missing"),
        ({"measured": MEASURED.to_dict() | {"pruned": 98.0}}, "pruned is 98.0; expected at least"),
        ({"measured": MEASURED.to_dict() | {"mac_ratio": 0}}, "mac_ratio is 0"),
    ],
)
def test_damaged_recommendations_are_named(change, message):
    data = Recommendation(paper_plan(0.7), MEASURED).to_dict()
    with pytest.raises(SpectrimError, match=message):
        Recommendation.from_dict(data | change)


def test_keys_of_later_versions_are_ignored():
    data = Recommendation(paper_plan(0.7), MEASURED).to_dict()
    data["measured"]["energy"] = 1.0
    assert Recommendation.from_dict(data | {"author": "x"}).measured == MEASURED


def test_a_learned_part_cannot_be_recommended():
    with pytest.raises(SpectrimError, match="Save the model with the plan instead"):
        Recommendation(paper_plan(0.7, Learned(), blocks=(3,)))


def test_without_measurements_every_block_merges_a_little():
    recommendation = generic(depth=5)
    assert recommendation.measured is None and "not measured on this model" in str(recommendation)
    assert [(s.at, s.reduction, s.keep_rate) for s in recommendation.plan.stages] == [
        (block, "tome", 0.9) for block in range(5)
    ]


def test_a_trained_range_holds_the_generic_plan():
    for low, rate in ((0.4, 0.7), (0.8, 0.8)):
        trained = TrainedRange(low, (2, 4), ("intensity", "attention"), "keep-top")
        plan = generic(6, trained).plan
        assert plan == paper_plan(rate, "intensity", (2, 4)) and trained.contains(plan, 64)


@pytest.mark.parametrize(
    "trained",
    [
        TrainedRange(0.5, (3, 6), ("imported_by_a_file:score",), "keep-top"),
        TrainedRange(0.5, (3, 6), ("attention",), "imported_by_a_file:reduction"),
        TrainedRange(0.5, (3, 600), ("attention",), "keep-top"),
        TrainedRange(0.5, (6, 3), ("attention",), "keep-top"),
        TrainedRange(0.5, (3, 6), (), "keep-top"),
    ],
)
def test_a_range_of_a_damaged_or_hostile_file_is_not_followed(trained, tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_file.py").write_text("score = reduction = lambda *_: None\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert generic(12, trained) == generic(12)
    assert "imported_by_a_file" not in sys.modules


def test_labels_of_saved_plans():
    labels = {
        "unpruned": Plan(),
        "tome 0.9": paper_plan(0.9, reduction="tome"),
        "attention 0.7": paper_plan(0.7),
        "evit, attention 0.65": paper_plan(0.65, reduction="evit"),
        "attention several": paper_plan([0.9, 0.8, 0.7]),
    }
    assert {plan_label(plan.to_dict()): plan for plan in labels.values()} == labels
