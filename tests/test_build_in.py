"""The tool that makes a built-in model measures what it writes into the card."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import build_in
import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data, write_manifest
from spectrim.models.builtin_models import builtin_root
from spectrim.pruning.plan import paper_plan
from spectrim.pruning.trained_range import TrainedRange

ROOT = builtin_root()


@pytest.fixture(scope="module")
def origins():
    return yaml.safe_load(build_in.ORIGINS.read_text(encoding="utf-8"))["models"]


def test_every_built_in_model_to_come_has_all_that_its_card_states(origins):
    tasks = ("digits", "words", "esc50")
    assert set(origins) == {f"{family}-{task}" for family in ("ast", "audiomae") for task in tasks}
    keys = {key for origin in origins.values() for key in origin}
    for name, origin in origins.items():
        assert set(origin) == keys, name
        assert origin["family"].lower() == name.split("-")[0]
        assert origin["commands"][-1].startswith("spectrim train recipes/")


def test_a_card_states_what_is_measured_again(tmp_path, origins, monkeypatch):
    # A folder among the built-in models is loaded with its card, which is not there at first.
    for module in ("loading.load", "builtin_models"):
        name = f"spectrim.models.{module}.builtin_root"
        monkeypatch.setattr(name, lambda: tmp_path / "models")
    clips = read_data(sample_pack()).clips[::10]
    manifests = tmp_path / "manifests"
    write_manifest(manifests / "fsdd-digit.csv", [replace(c, split="test") for c in clips])
    model = spectrim.load(ROOT / "ast-digits")
    model.config = replace(
        model.config, trained_range=TrainedRange(0.4, (3, 6, 9), ("attention",), "keep-top")
    )
    spectrim.prune(model.float(), 0.7).save(tmp_path / "run")
    origin = origins["ast-digits"] | {"held_out": origins["ast-digits"]["held_out"][:1]}
    build_in.build_in(
        tmp_path / "run", "ast-digits", origin, manifests, tmp_path / "models", "tome 0.8"
    )
    folder = tmp_path / "models" / "ast-digits"
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "card.json", "config.json", "model.safetensors",
    }  # fmt: skip
    size = (ROOT / "ast-digits" / "model.safetensors").stat().st_size
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(size, rel=0.01)
    made = spectrim.load(folder)
    assert not made.plan.stages and made.config.trained_range.low == 0.4
    features = made.features([clip.path for clip in clips])
    truth = torch.tensor([made.labels.index(clip.labels[0]) for clip in clips])
    text = (folder / "README.md").read_text(encoding="utf-8")
    right = {}
    with torch.inference_mode():
        for score in ("attention", "intensity", "variation"):
            row = re.search(rf"\| by {score} \| (.*) \|", text)[1].split(" | ")
            for rate, cell in zip((1.0, 0.9, 0.7, 0.5, 0.4), row, strict=True):
                logits = spectrim.prune(made, rate, score=score)(*features)
                right[score, rate] = (logits.argmax(1) == truth).float()
                assert float(cell) == pytest.approx(
                    100 * right[score, rate].mean().item(), abs=0.06
                )
    card = json.loads((folder / "card.json").read_text())
    assert card["accuracy"]["0.5"] == round(100 * right["attention", 0.5].mean().item(), 1)
    change = 100 * (right["attention", 0.4] - right["attention", 1.0]).mean().item()
    cell = re.search(r"change by attention .*\| ([^|]*) \|", text)[1]
    value, low, high = map(float, re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cell).groups())
    assert value == pytest.approx(change, abs=0.06) and low < value < high
    recommendation = made.recommendation
    assert recommendation.plan == paper_plan(0.8, reduction="tome")
    with torch.inference_mode():
        logits = spectrim.prune(made, plan=recommendation.plan)(*features)
    accuracy = (logits.argmax(1) == truth).float().mean().item()
    assert recommendation.measured.pruned == pytest.approx(accuracy)
    assert recommendation.measured.unpruned == pytest.approx(right["attention", 1.0].mean().item())
    assert f"- **Recommended plan**: {recommendation}." in " ".join(text.split())
    assert "at any keep rate from 1.0 to 0.4" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines() if line[:1] != "|") <= 110


def test_a_missing_manifest_or_too_many_weights_are_refused(tmp_path, origins, monkeypatch):
    run = builtin_root() / "ast-digits"
    with pytest.raises(SpectrimError, match=r"fsdd-digit.csv: no such file"):
        build_in.build_in(run, "ast-digits", origins["ast-digits"], tmp_path, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    monkeypatch.setattr(build_in, "MAX_BYTES", 1e6)
    pack = origins["ast-digits"] | {"held_out": origins["ast-digits"]["held_out"][1:]}
    with pytest.raises(SpectrimError, match=r"at most 5\.5 MB are built in"):
        build_in.build_in(run, "ast-digits", pack, tmp_path, tmp_path / "models")


def test_readme_gets_the_row_of_a_model():
    percent = {"attention": {1.0: 91.25, 0.9: 1.0, 0.7: 90.0, 0.5: 88.0, 0.4: 1.0}}
    result = build_in.Accuracies("fold 5, 400 clips", percent, {})
    page = "a\n\n| model | recordings | 1 |\n| --- | --- | --- |\n| `x-y` | old | 1 % |\n\nb\n"
    new = "| `x-y` | fold 5, 400 clips | 91.2 % | 90.0 % | 88.0 % |\n"
    replaced = page.replace("| `x-y` | old | 1 % |\n", new)
    assert build_in.with_row(page, "x-y", result) == replaced
    added = build_in.with_row(page, "x-z", result)
    assert added == page.replace("| 1 % |\n", "| 1 % |\n" + new.replace("x-y", "x-z"))
    with pytest.raises(SpectrimError, match="no table"):
        build_in.with_row("a\n", "x-y", result)
    readme = (build_in.ROOT / "README.md").read_text(encoding="utf-8")
    longer = build_in.with_row(readme, "ast-birds", result)
    assert longer.count("\n") == readme.count("\n") + 1


def test_percent_has_one_digit():
    assert build_in.percent(np.array([True, True, False])) == 66.7


def test_rounded_weights_have_few_bits_and_stay_close():
    model = spectrim.load(ROOT / "ast-digits")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    after = dict(build_in.rounded(model).named_parameters())
    for name, weights in before.items():
        assert after[name].dtype == torch.bfloat16
        difference = (after[name].float() - weights).abs()
        assert (difference <= weights.abs() / 32 + 1e-30).all(), name
    # Weights of 5 significant bits have the other bits of their mantissa at 0.
    bits = after["blocks.0.fc1.weight"].detach().view(torch.int16) & 0b111
    assert (bits == 0).all()
