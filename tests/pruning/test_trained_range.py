"""Which plans lie in the range that a model was trained for, and who is told."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import spectrim
from calls import call_spectrim
from extensions import merge
from spectrim.models.config import ModelConfig
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage
from spectrim.pruning.trained_range import TrainedRange

RANGE = TrainedRange(0.4, (3, 6, 9), ("attention", "intensity"), "keep-top")
NOTE = "trained to be pruned at keep rates from 1.0 to 0.4 in blocks 3, 6, 9"


def stages(*rates: float, **others: object) -> Plan:
    return Plan(
        tuple(
            Stage(at=at, keep_rate=rate, **others)
            for at, rate in zip((3, 6, 9), rates, strict=True)
        )
    )


@pytest.mark.parametrize(
    ("plan", "inside"),
    [
        (Plan(), True),
        (stages(1.0, 1.0, 1.0), True),
        (stages(0.4, 0.4, 0.4), True),
        (stages(0.9, 0.4, 1.0), True),
        (stages(0.39, 0.9, 0.9), False),
        (stages(0.9, 0.9, 0.3), False),
        (stages(0.5, 0.5, 0.5, score="variation"), True),
        (Plan((Stage(at=6, keep_rate=0.5),)), True),
        (Plan((Stage(at=2, keep_rate=0.9),)), False),
        (Plan((Stage(at=2, keep_rate=1.0),)), True),  # keeps everything
        (Plan((Stage(at="input", keep_rate=0.9, score="intensity"),)), False),
        # 40 % of 64 patches are 25.6, so 26 are kept in training.
        (Plan((Stage(at=3, count=26),)), True),
        (Plan((Stage(at=3, count=25),)), False),
        # Half of them stay after the first stage: the second may keep 40 % of 32, which is 13.
        (Plan((Stage(at=3, count=32), Stage(at=6, count=13))), True),
        (Plan((Stage(at=3, count=32), Stage(at=6, count=12))), False),
    ],
)
def test_a_plan_is_inside_if_no_stage_keeps_less_than_in_training(plan: Plan, inside: bool) -> None:
    assert RANGE.contains(plan, 64) is inside


def test_a_reduction_that_leaves_more_than_it_is_asked_for_counts_by_the_request() -> None:
    """Merging leaves at least half, whatever the keep rate."""
    assert RANGE.contains(stages(0.4, 0.4, 0.4, reduction=merge), 64)
    assert not RANGE.contains(stages(0.3, 0.4, 0.4, reduction=merge), 64)


@pytest.fixture
def elastic(tmp_path: Path) -> SpectrogramTransformer:
    model = spectrim.create("ast-tiny", frames=64, labels=["low", "high"])
    model.config = replace(model.config, trained_range=RANGE)
    return model


def test_a_saved_model_keeps_the_range(elastic: SpectrogramTransformer, tmp_path: Path) -> None:
    loaded = spectrim.load(elastic.save(tmp_path / "model"))
    assert loaded.config == elastic.config
    assert loaded.config.trained_range == RANGE
    assert spectrim.prune(loaded, 0.5).config.trained_range == RANGE
    assert spectrim.load(tmp_path / "model", frames=128).config.trained_range == RANGE


def test_other_models_are_saved_as_before(tmp_path: Path) -> None:
    """Versions before 0.2 refuse keys that they do not know."""
    plain = spectrim.create("ast-tiny", frames=64, classes=2)
    stored = json.loads((plain.save(tmp_path) / "config.json").read_text())
    assert "trained_range" not in stored["model"]
    assert spectrim.load(tmp_path).config.trained_range is None
    assert ModelConfig.from_dict(stored["model"] | {"trained_range": None}) == plain.config


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("low", 0, "keep rate of 0"),
        ("low", 1.5, "keep rate of 1.5"),
        ("lowest", 0.4, "lowest"),
        ("scores", None, "trained range"),
    ],
)
def test_a_damaged_range_is_named(elastic, tmp_path: Path, key, value, text) -> None:
    path = elastic.save(tmp_path) / "config.json"
    stored = json.loads(path.read_text())
    stored["model"]["trained_range"][key] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(spectrim.SpectrimError, match=text) as error:
        spectrim.load(tmp_path)
    assert "config.json" in str(error.value)


@pytest.mark.parametrize("pruning", [{"keep_rate": 0.3}, {"keep_rate": 0.9, "blocks": [2]}])
def test_pruning_outside_the_range_works_and_is_noted(elastic, pruning) -> None:
    with pytest.warns(spectrim.SpectrimNotice, match=NOTE) as notes:
        pruned = spectrim.prune(elastic, **pruning)
    assert len(notes) == 1 and notes[0].filename == __file__
    assert pruned.plan.stages[0].keep_rate == pruning["keep_rate"]


def test_pruning_inside_the_range_or_a_model_without_one_is_not_noted(elastic) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrim.prune(elastic, 0.4)
        spectrim.prune(elastic, (1.0, 0.4, 0.7), "variation")
        spectrim.prune(spectrim.create("ast-tiny", frames=64, classes=2), 0.1)


def test_loading_a_plan_outside_the_range_is_noted(elastic, tmp_path: Path) -> None:
    elastic.with_plan(stages(0.2, 0.2, 0.2)).save(tmp_path)
    with pytest.warns(spectrim.SpectrimNotice, match=f"{tmp_path}.*{NOTE}"):
        assert spectrim.load(tmp_path).plan.stages[0].keep_rate == 0.2


def test_commands_print_one_note(elastic, tmp_path: Path, clips, monkeypatch) -> None:
    elastic.with_plan(stages(1.0, 1.0, 1.0)).save(tmp_path / "model")
    (tmp_path / "clips").mkdir()
    for name in ("digit", "word"):
        (tmp_path / "clips" / f"{name}.wav").write_bytes(clips[name].read_bytes())
    (tmp_path / "clips.csv").write_text("path,label\nclips/digit.wav,low\nclips/word.wav,high\n")

    def notes(*words: object) -> int:
        text = " ".join(call_spectrim(words, tmp_path).stderr.split())
        assert "is not used" not in text  # the saved plan prunes nothing
        return text.count(NOTE)

    sweep = ("sweep", "--model", "model", "--data", "clips.csv", "--rounds", 1)
    assert notes(*sweep, "--keep-rates", "1.0,0.3,0.2", "--scores", "intensity,variation") == 1
    assert notes(*sweep, "--keep-rates", "1.0,0.4", "--scores", "intensity") == 0
    tag = ("tag", "clips", "--model", "model", "--keep-rate")
    assert (notes(*tag, 0.3), notes(*tag, 0.5)) == (1, 0)
    # The note comes before the export, which takes seconds.
    monkeypatch.setattr("spectrim.deploy.export.export", lambda *_, **__: 1 / 0)
    lines: list[str] = []
    monkeypatch.setattr("spectrim.cli.main.notify", lambda _, text: lines.append(text))
    for rate in (0.5, 0.3):
        assert " ".join(lines).count(NOTE) == 0
        with pytest.raises(ZeroDivisionError):
            call_spectrim(("export", "model", "--out", "a.onnx", "--keep-rate", rate), tmp_path)
    assert " ".join(lines).count(NOTE) == 1
