"""The tool that stores a recommended plan in a built-in model."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict

import pytest

import recommend_plan
import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.sweep import sweep
from spectrim.evaluation.sweep_files import save_sweeps
from spectrim.evaluation.variants import Variant
from spectrim.models import builtin_models
from spectrim.pruning.plan import paper_plan

PLAN = "evit by attention 0.9 0.8 0.5"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """results.json of a sweep of a plan with three rates, on 20 clips of the sample pack."""
    model = spectrim.load("ast-digits")
    plan = recommend_plan.plan_from(PLAN, 12)
    variants = [Variant("ast-digits", TorchRunner(m)) for m in (model, model.with_plan(plan))]
    manifest = read_data(sample_pack())
    manifest = type(manifest)(manifest.source, manifest.clips[:20])
    out = tmp_path_factory.mktemp("sweep")
    save_sweeps(out, [sweep(variants, manifest, budget=0)], manifest.source)
    return out / "results.json"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of built-in models with a copy of one."""
    shutil.copytree(builtin_models.builtin_root() / "ast-digits", tmp_path / "ast-digits")
    card = tmp_path / "ast-digits" / "card.json"
    card.write_text(card.read_text().replace("FSDD test, 300 clips", "first of the pack, 20 clips"))
    monkeypatch.setattr(builtin_models, "builtin_root", lambda: tmp_path)
    return tmp_path


def call(monkeypatch, models, plan, results):
    arguments = ["ast-digits", plan, str(results), "--models", str(models)]
    monkeypatch.setattr(sys, "argv", ["recommend_plan.py", *arguments])
    recommend_plan.main()


def test_a_model_gets_what_the_sweep_measured(models, results, monkeypatch, capsys):
    weights = (models / "ast-digits" / "model.safetensors").read_bytes()
    plain = spectrim.load(models / "ast-digits")
    for _ in range(2):  # again: it replaces what it wrote
        call(monkeypatch, models, PLAN, results)
    assert (models / "ast-digits" / "model.safetensors").read_bytes() == weights
    model = spectrim.load(models / "ast-digits")
    assert model.config == plain.config and model.plan == plain.plan
    plan, measured = model.recommended_plan, model.recommendation.measured
    assert plan == paper_plan([0.9, 0.8, 0.5], reduction="evit")
    pruned = spectrim.prune(model, plan=plan)
    assert measured.mac_ratio == pytest.approx(spectrim.macs(model) / spectrim.macs(pruned))
    clips = read_data(sample_pack()).clips[:20]
    features = model.features([clip.path for clip in clips])
    top, pruned_top = (m(*features).argmax(1).tolist() for m in (model, pruned))
    truth = [model.labels.index(clip.labels[0]) for clip in clips]
    right = [sum(a == b for a, b in zip(one, truth, strict=True)) / 20 for one in (top, pruned_top)]
    assert [measured.unpruned, measured.pruned] == pytest.approx(right)
    assert measured.agreement == sum(a == b for a, b in zip(top, pruned_top, strict=True)) / 20
    text = " ".join((models / "ast-digits" / "README.md").read_text().split())
    assert text.count("**Recommended plan**") == text.count("**Not for**") == 1
    assert f"{model.recommendation}. `spectrim tag`" in text
    card = builtin_models.card("ast-digits")
    assert card.recommended_plan == "evit, attention several" and card.measured == measured
    assert json.dumps(asdict(card))
    assert str(model.recommendation) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("evit by attention 0.9", "no row of ast-digits with evit .*Its plans: evit, attention"),
        ("0.9 evit", "expected REDUCTION"),
        ("tomme 0.9", "no reduction is called 'tomme'"),
        ("evit by attention 0.9 0.8", "2 keep rates for 3 stages"),
    ],
)
def test_wrong_plans(models, results, monkeypatch, plan, message):
    before = (models / "ast-digits" / "config.json").read_bytes()
    with pytest.raises(SpectrimError, match=message):
        call(monkeypatch, models, plan, results)
    assert (models / "ast-digits" / "config.json").read_bytes() == before


def test_other_clips_or_models_than_the_card_names(models, results, monkeypatch, tmp_path):
    card = models / "ast-digits" / "card.json"
    card.write_text(card.read_text().replace("20 clips", "120 clips"))
    with pytest.raises(SpectrimError, match="measured 20 clips"):
        call(monkeypatch, models, PLAN, results)
    other = tmp_path / "other.json"
    other.write_text(results.read_text().replace("ast-digits", "ast-words"))
    with pytest.raises(SpectrimError, match="no unpruned row of ast-digits"):
        call(monkeypatch, models, PLAN, other)


def test_a_plan_may_name_its_blocks():
    plan = recommend_plan.plan_from("tome 0.7 at 1, 3, 5", 12)
    assert plan == paper_plan(0.7, blocks=[1, 3, 5], reduction="tome", depth=12)
