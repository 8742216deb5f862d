"""Commands use the recommended plan of a model where no pruning option is given."""

from __future__ import annotations

import json
import shutil

import pytest

import spectrim
from spectrim.models import builtin
from spectrim.models.provenance import plan_record
from spectrim.pruning.plan import paper_plan
from spectrim.pruning.recommendation import Recommendation
from spectrim.pruning.saved_plans import Measured

PLAN = paper_plan([0.9, 0.7, 0.3], "intensity", reduction="segments")
MEASURED = Measured("my 200 clips", 200, "accuracy", 0.95, 0.94, 0.97, 1.5)


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """A folder with the model for which a plan with three rates was measured."""
    model = spectrim.load(folder / "model")
    model.set_recommendation(Recommendation(PLAN, MEASURED))
    return model.save(tmp_path_factory.mktemp("recommended") / "measured")


def tagged(run, folder, model, *options):
    done = run("tag", "clips/0.wav", "--model", str(model), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), " ".join(done.stderr.split())


def labels_of(model, folder):
    return spectrim.tag(model, folder / "clips" / "0.wav")[0]["labels"]


def test_tag_uses_a_measured_plan_and_says_so(run, folder, measured):
    model = spectrim.load(measured)
    pruned = spectrim.prune(model, plan=PLAN)
    assert labels_of(pruned, folder) != labels_of(model, folder)
    result, notes = tagged(run, folder, measured)
    assert result["rows"][0]["labels"] == labels_of(pruned, folder)
    assert result["plan"] == plan_record(PLAN)
    assert f"pruned by the model's recommended plan: {model.recommendation}. Pass" in notes
    result, notes = tagged(run, folder, measured, "--keep-rate", "1")
    assert result["rows"][0]["labels"] == labels_of(model, folder)
    assert "recommended" not in notes


def test_tag_leaves_a_model_alone_on_which_no_plan_was_measured(run, folder, measured):
    result, notes = tagged(run, folder, folder / "model")
    assert result["plan"]["stages"] == [] and "pruned" not in notes
    # With other features than those measured with, the plan is not a measured one either.
    result, notes = tagged(run, folder, measured, "--frames", "80")
    assert result["plan"]["stages"] == [] and "pruned" not in notes


def test_a_saved_plan_comes_before_the_recommended_one(run, folder, measured, tmp_path):
    for rate in (0.5, 1.0):
        pruned = spectrim.prune(spectrim.load(measured), rate)
        result, notes = tagged(run, folder, pruned.save(tmp_path / str(rate)))
        assert result["plan"] == plan_record(pruned.plan) and "recommended" not in notes


@pytest.mark.parametrize("name", ["out", pytest.param("model.onnx", marks=pytest.mark.slow)])
def test_export_writes_the_model_with_the_measured_plan(run, folder, measured, tmp_path, name):
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime", reason="it runs the exported file")
    done = run("export", str(measured), "--out", str(tmp_path / name), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["plan"] == plan_record(PLAN)
    assert "recommended plan: segments by intensity" in " ".join(done.stderr.split())
    result, notes = tagged(run, folder, tmp_path / name)
    assert result["plan"]["stages"] == plan_record(PLAN)["stages"]
    assert "pruned by" not in notes, "the plan is part of the file now"
    pruned = spectrim.prune(spectrim.load(measured), plan=PLAN)
    expected = {row["label"]: row["probability"] for row in labels_of(pruned, folder)}
    labels = {row["label"]: row["probability"] for row in result["rows"][0]["labels"]}
    assert labels == pytest.approx(expected, abs=1e-4)


def test_options_without_a_keep_rate_are_refused(run, measured):
    done = run("tag", "clips/0.wav", "--model", str(measured), "--reduction", "tome")
    assert done.returncode == 2 and "--reduction tome requires --keep-rate" in done.stderr


def test_the_list_of_models_has_accuracy_and_cost_under_the_plan(run, tmp_path, monkeypatch):
    for name in ("ast-digits", "audiomae-digits"):
        shutil.copytree(builtin.builtin_root() / name, tmp_path / name)
    path = tmp_path / "ast-digits" / "config.json"
    recommended = Recommendation(paper_plan(0.9, reduction="tome"), MEASURED).to_dict()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recommended_plan": recommended}))
    path = tmp_path / "audiomae-digits" / "config.json"
    config = json.loads(path.read_text())
    config.pop("recommended_plan", None)
    path.write_text(json.dumps(config))
    monkeypatch.setattr(builtin, "builtin_root", lambda: tmp_path)
    with_plan, without = json.loads(run("models", "--json").stdout)["rows"]
    assert with_plan["recommended_plan"] == "tome 0.9"
    assert with_plan["measured"] == MEASURED.to_dict()
    assert without["recommended_plan"] is without["measured"] is None
    lines = run("models").stdout.splitlines()
    assert "98.3%  tome 0.9             94.0%   67%  FSDD test, 300 clips" in lines[2]
    assert "99.3%  -                        -     -  FSDD test, 300 clips" in lines[3]
