"""The recommended plan of a model: stored, carried along, dropped when it no longer holds."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
import torch
from test_load import small

import spectrim
from spectrim.common.errors import SpectrimNotice
from spectrim.models.build import range_note
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.recommendation import Recommendation
from spectrim.pruning.saved_plans import Measured
from spectrim.pruning.trained_range import TrainedRange

MEASURED = Measured("twenty clips", 20, "accuracy", 0.9, 0.85, 0.95, 2.0)
PLAN = paper_plan([0.9, 0.8, 0.7, 0.6], reduction="tome", depth=4)


@pytest.fixture
def measured_model():
    model = small()
    model.set_recommendation(Recommendation(PLAN, MEASURED))
    return model


def test_it_is_saved_and_applied_by_prune(measured_model, tmp_path):
    features = torch.randn(2, 128, 128)
    again = spectrim.load(measured_model.save(tmp_path))
    assert again.recommendation == Recommendation(PLAN, MEASURED)
    assert again.plan == Plan(), "the model itself stays unpruned"
    pruned = spectrim.prune(again, plan=again.recommended_plan)
    torch.testing.assert_close(pruned(features), measured_model.with_plan(PLAN)(features))
    assert not torch.equal(pruned(features), again(features))
    # Models with other plans over the same weights have the same recommendation.
    assert pruned.recommendation == spectrim.prune(again, 0.5, blocks=(1,)).recommendation
    assert pruned.recommendation == again.recommendation


def test_a_version_that_does_not_know_it_reads_the_same_model(measured_model, tmp_path):
    """Earlier versions read "format", "version", "model" and "plan" and ignore other keys."""
    config = json.loads((measured_model.save(tmp_path) / "config.json").read_text())
    assert set(config) == {
        "format", "version", "model", "plan", "recommended_plan", "weights_digest",
    }  # fmt: skip
    assert "recommended" not in " ".join(config["model"])
    del config["recommended_plan"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    old = spectrim.load(tmp_path)
    assert old.recommendation.measured is None
    assert [(s.reduction, s.keep_rate) for s in old.recommended_plan.stages] == [("tome", 0.9)] * 4


def test_a_saved_plan_is_recommended_where_none_was_measured(measured_model, tmp_path):
    pruned = spectrim.prune(small(), 0.5, blocks=(1, 2))
    assert spectrim.load(pruned.save(tmp_path / "a")).recommended_plan == pruned.plan
    kept = spectrim.prune(small(), 1.0, blocks=(1, 2))
    assert kept.recommended_plan == small().recommended_plan, "a keep rate of 1 does not prune"
    assert spectrim.prune(measured_model, 0.5, blocks=(1,)).recommended_plan == PLAN
    # Unpruned again, the plan that the file held is still the one to try.
    unpruned = spectrim.load(tmp_path / "a").with_plan(Plan())
    assert unpruned.recommended_plan == pruned.plan


@pytest.mark.parametrize("change", [{"frames": 256}, {"mean": 0.0}, {"padding": "zero"}])
def test_other_features_than_measured(measured_model, tmp_path, change):
    model = spectrim.load(measured_model.save(tmp_path), **change)
    assert model.recommendation == Recommendation(PLAN, None)
    assert spectrim.load(tmp_path, labels=["x", "y", "z"]).recommendation.measured == MEASURED


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ({"reduction": "of-2030"}, "no reduction is called 'of-2030'"),
        ({"reduction": "os:getcwd"}, "names code outside Spectrim"),
        ({"at": 40}, "a stage at block 40"),
        ({"keep_rate": 7}, "a keep rate of 7"),
        ({"at": None}, "a stage at None"),
        ({"colour": 1}, "cannot be read"),
    ],
)
def test_one_that_cannot_be_read_is_noted_and_the_model_loads(
    measured_model, tmp_path, stage, reason
):
    path = measured_model.save(tmp_path) / "config.json"
    config = json.loads(path.read_text())
    config["recommended_plan"]["plan"]["stages"][-1].update(stage)
    path.write_text(json.dumps(config))
    with pytest.warns(SpectrimNotice, match=f"recommended plan is ignored: .*{reason}"):
        model = spectrim.load(tmp_path)
    features = torch.randn(1, 128, 128)
    assert model(features).equal(measured_model(features))
    assert model.recommendation == small().recommendation


def test_a_measured_plan_outside_the_trained_range_needs_no_note(measured_model):
    trained = TrainedRange(0.5, (1,), ("attention",), "keep-top")
    measured_model.config = replace(measured_model.config, trained_range=trained)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrim.prune(measured_model, plan=PLAN)
    with pytest.warns(SpectrimNotice, match="outside this range"):
        assert range_note(spectrim.prune(measured_model, 0.5, blocks=(2,)))


def test_prune_itself_stays_keep_top_by_attention(measured_model):
    pruned = spectrim.prune(measured_model, 0.7, blocks=(1, 2))
    assert [(s.reduction, s.score, s.keep_rate) for s in pruned.plan.stages] == [
        ("keep-top", "attention", 0.7)
    ] * 2


def test_converted_models_get_one_that_says_it_was_not_measured():
    model = spectrim.create("audiomae-tiny", frames=128, classes=3)
    assert str(model.recommendation) == "tome 0.9 at 0-11; not measured on this model"
