"""Whole runs by the command line: what they leave, and what they learn."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import spectrim
from models import foreign
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.json_manifest import write_json_manifest
from spectrim.data.manifest import read_data
from spectrim.training.initial_model import initial_classifier
from spectrim.training.jobs import Supervision
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Board, Silent
from spectrim.training.run import train
from spectrim.training.task import resolve_task
from tones import write_recipe

ROOT = Path(__file__).parents[2]
PLAIN = """
epochs: 5
init: ast-digits
model: {frames: 64}
data: {manifest: MANIFEST}
optim: {lr: 5.0e-4, batch_size: 4, warmup_epochs: 1, clip: 1.0}
run: {tensorboard: false, threads: 1}
"""


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def learned(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the tones, without pruning."""
    from spectrim.training.read_recipe import read_recipe
    from spectrim.training.recipe import Recipe

    folder = tmp_path_factory.mktemp("learned")
    path = write_recipe(folder, tones, PLAIN)
    train(read_recipe(path, [], Recipe), folder / "run", Silent())
    return folder / "run"


def test_the_tones_are_learned_and_the_models_load_and_agree(learned: Path, tones: Path) -> None:
    summary = json.loads((learned / "summary.json").read_text())
    assert summary["last"]["test"] == 1.0
    assert lines(learned)[0]["loss"] > 0.9 > 0.3 > lines(learned)[-1]["loss"]
    assert summary["best"]["selected_by"] == "valid"
    best = max(lines(learned), key=lambda row: row["valid"])  # the first of equals
    assert summary["best"]["epoch"] == best["epoch"]
    for name in ("last", "best"):
        model = spectrim.load(learned / name)
        assert model.labels == ["high", "low", "middle"]
        test = read_data(tones).select(split="test").clips
        logits = model(*model.features([clip.path for clip in test]))
        kept = np.load(learned / name / "predictions.npz")
        assert kept["test_paths"].tolist() == [str(clip.path) for clip in test]
        np.testing.assert_allclose(kept["test_logits"], logits.detach().numpy(), atol=1e-4)
        truth = [model.labels[row.argmax()] for row in kept["test_truth"]]
        assert truth == [clip.labels[0] for clip in test]


def test_pruning_holds_in_evaluation_and_in_the_model_from_the_first_epoch(
    recipe: Path, tmp_path: Path, run_spectrim
) -> None:
    out = tmp_path / "run"
    done = run_spectrim("train", recipe, "score=variation", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["last"] == lines(out)[-1]
    model = spectrim.load(out / "last")
    assert [(s.score, s.keep_rate, s.at) for s in model.plan.stages] == [
        ("variation", 0.6, 3), ("variation", 0.6, 6), ("variation", 0.6, 9)
    ]  # fmt: skip
    test = read_data(package_manifest(recipe)).select(split="test").clips
    expected = model(*model.features([clip.path for clip in test])).detach().numpy()
    kept = np.load(out / "last" / "predictions.npz")["test_logits"]
    np.testing.assert_allclose(kept, expected, atol=1e-4)


def package_manifest(recipe: Path) -> Path:
    text = recipe.read_text()
    return Path(text.split("manifest: ")[1].split(",")[0])


def test_scalars_reach_tensorboard(recipe: Path, tmp_path: Path, run_spectrim) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    assert run_spectrim("train", recipe, "run.tensorboard=true", "--out", out).returncode == 0
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    rates = [event.value for event in events.Scalars("train/keep_rate")]
    assert rates[0] == 1.0 and rates[-1] < 0.7 and sorted(rates, reverse=True) == rates
    assert [event.step for event in events.Scalars("epoch/test")] == [3, 6]
    found = [event.value for event in events.Scalars("epoch/test")]
    np.testing.assert_allclose(found, [row["test"] for row in lines(out)], atol=1e-6)


def test_ones_own_clips_need_a_manifest_and_a_start(
    tones: Path, tmp_path: Path, run_spectrim
) -> None:
    """Classes, length, mean and std follow; a start of other classes and length is adapted."""
    rows = list(csv.DictReader(tones.open()))
    for row in rows:
        row["path"] = str(tones.parent / row["path"])
    mine = tmp_path / "mine.csv"
    with mine.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    finetune = ROOT / "recipes" / "finetune.yaml"
    out = tmp_path / "run"
    done = run_spectrim(
        "train", finetune, f"data.manifest={mine}", "init=ast-digits", "epochs=1", "keep_rate=0.7",
        "schedule.start=0", "schedule.length=1", "run.threads=1", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "its length of 128 frames becomes 64" in said
    assert "its head of 10 classes is replaced; a fresh one of 3 classes is created" in said
    model = spectrim.load(out / "last")
    assert model.config.frames == 64
    assert model.labels == ["high", "low", "middle"]
    assert model.config.activation == "softmax" and model.config.metric == "accuracy"
    settled = json.loads((out / "settled.json").read_text())
    assert settled["mean"] == model.config.mean and settled["std"] == model.config.std
    assert settled["clips"] == {"train": 36, "valid": 3, "test": 0}  # a tenth held out by class


@pytest.mark.parametrize("kind", ["audiomae", "official_ast"])
def test_a_recipe_of_the_paper_starts_from_a_published_checkpoint(
    kind: str, tones: Path, tmp_path: Path, run_spectrim
) -> None:
    """Files of the published formats, smaller; AudioMAE's without a head."""
    state = foreign.audiomae(head=False) if kind == "audiomae" else foreign.official_ast()
    path = tmp_path / "pretrained.pth"
    torch.save({"model": state} if kind == "audiomae" else state, path)
    name = "audiomae-esc50" if kind == "audiomae" else "ast-esc50"
    done = run_spectrim(
        "train", ROOT / "recipes" / f"{name}.yaml", f"data.manifest={tones}", f"init={path}",
        "data.test_fold=null", "model.frames=64", "blocks=[1]", "epochs=2", "select.from_epoch=0",
        "schedule.start=0", "schedule.length=1", "keep_rate=0.5", "score=intensity",
        "run.threads=1", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head = "it has no head" if kind == "audiomae" else "its head of 5 classes is replaced"
    assert f"{head}; a fresh one of 3 classes is created" in done.stderr
    assert "position embedding of 8 time columns to 4" in done.stderr
    config = spectrim.load(tmp_path / "run" / "last").config
    assert (config.padding, config.mean, config.std) == ("minimum", -6.6268077, 5.358466)
    assert config.has_class_token == (kind == "official_ast")


def test_several_labels_a_clip_give_bce_and_map(tones: Path, tmp_path: Path, run_spectrim) -> None:
    text = tones.read_text().replace("high,train", "high;low,train")
    several = tones.with_name("several.csv")
    several.write_text(text)
    recipe = write_recipe(tmp_path, several, PLAIN)
    done = run_spectrim("train", recipe, "epochs=1", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    config = spectrim.load(tmp_path / "run" / "last").config
    assert (config.activation, config.metric) == ("sigmoid", "mAP")
    assert "loss bce" in done.stderr


def test_a_pretrained_encoder_is_where_training_starts(
    tones: Path, tmp_path: Path, run_spectrim
) -> None:
    text = """
epochs: 2
mask: 0.75
decoder_width: 64
decoder_depth: 1
decoder_heads: 2
model: {preset: audiomae-tiny, frames: 64}
data: {manifest: [MANIFEST]}
optim: {lr: 1.0e-3, batch_size: 8, warmup_epochs: 1}
run: {tensorboard: false, threads: 1}
"""
    unlabelled = tones.with_name("unlabelled.csv")
    rows = list(csv.DictReader(tones.open()))
    unlabelled.write_text("path\n" + "".join(row["path"] + "\n" for row in rows))
    pre = tmp_path / "pre"
    done = run_spectrim("pretrain", write_recipe(tmp_path, unlabelled, text), "--out", pre)
    assert done.returncode == 0, done.stderr
    losses = [row["loss"] for row in lines(pre)]
    assert losses[-1] < losses[0] < 1.5  # of values whose variance is 1
    recipe = write_recipe(tmp_path, tones, PLAIN)
    done = run_spectrim("train", recipe, f"init={pre / 'last'}", "epochs=1", "optim.lr=1e-9",
                    "--out", tmp_path / "fine")  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after = (load_file(p / "last" / "model.safetensors") for p in (pre, tmp_path / "fine"))
    for name in ("patch.weight", "blocks.11.fc2.weight", "positions"):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    assert after["head.weight"].shape == (3, 128)


def test_a_teacher_of_the_same_classes_helps(
    learned: Path, tones: Path, tmp_path: Path, run_spectrim
) -> None:
    """With all the weight on a teacher that knows the tones, they are learned without labels."""
    wrong = tones.with_name("wrong.csv")
    turned = {"low": "middle", "middle": "high", "high": "low"}
    rows = list(csv.DictReader(tones.open()))
    with wrong.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label", "split"])
        writer.writeheader()
        for row in rows:
            train = row["split"] == "train"
            writer.writerow(row | ({"label": turned[row["label"]]} if train else {}))
    recipe = write_recipe(tmp_path, wrong, PLAIN)
    done = run_spectrim("train", recipe, f"teacher.model={learned / 'last'}", "teacher.weight=1.0",
                    "--out", tmp_path / "run", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["last"]["test"] == 1.0


@pytest.mark.parametrize("plan", ["score=extensions:Learned", "reduction=extensions:merge"])
def test_a_score_or_reduction_of_ones_own_is_trained_with(
    plan: str, recipe: Path, tmp_path: Path, run_spectrim
) -> None:
    out = tmp_path / "run"
    done = run_spectrim("train", recipe, plan, "--out", out)
    assert done.returncode == 0, done.stderr
    model = spectrim.load(out / "last", trust_code=True)
    if "Learned" in plan:
        torch.manual_seed(0)
        fresh = spectrim.prune(model, 0.6, score="extensions:Learned")
        assert len(model.learned) == len(fresh.learned) > 0
        assert any("learned" in name for name in load_file(out / "last" / "model.safetensors"))


def test_a_batch_computed_in_pieces_is_the_same_batch(recipe, tmp_path, run_spectrim) -> None:
    for name, size in (("whole", "null"), ("pieces", "3")):
        words = ["epochs=1", "schedule.start=0", f"run.micro_batch={size}"]
        done = run_spectrim("train", recipe, *words, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    whole, pieces = ([row["loss"] for row in lines(tmp_path / n)] for n in ("whole", "pieces"))
    np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_a_cache_that_cannot_be_written_stops_the_run(recipe, tmp_path, run_spectrim) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run_spectrim(
        "train", recipe, f"data.cache={tmp_path / 'file' / 'x'}", "--out", tmp_path / "r"
    )
    assert done.returncode == 2
    assert "data.cache" in done.stderr and "left out" not in done.stderr


def test_a_small_clip_of_the_gradient_leaves_the_weights(recipe, tmp_path, run_spectrim) -> None:
    """Below Adam's epsilon a step is as small as the gradient is."""
    words = ["epochs=1", "optim.clip=1e-12", "optim.weight_decay=0"]
    assert run_spectrim("train", recipe, *words, "--out", tmp_path / "run").returncode == 0
    made = read_recipe(recipe, words, Recipe)
    known = json.loads((tmp_path / "run" / "settled.json").read_text())
    start = initial_classifier(made, resolve_task(made, known))[0].state_dict()
    end = spectrim.load(tmp_path / "run" / "last").state_dict()
    assert max((end[name] - start[name]).abs().max().item() for name in start) < 1e-5


def test_corpora_with_a_file_a_split(tones: Path, tmp_path: Path, run_spectrim) -> None:
    """The reference's JSON says no split: which file is the test is the recipe's to say."""
    clips = read_data(tones).clips
    for name in ("train", "valid", "test"):
        write_json_manifest(tmp_path / f"{name}.json", [c for c in clips if c.split == name])
    recipe = write_recipe(tmp_path, tmp_path / "train.json", PLAIN)
    words = [f"data.{name}_manifest={tmp_path / name}.json" for name in ("valid", "test")]
    found = resolve_task(read_recipe(recipe, words, Recipe))
    whole = resolve_task(read_recipe(write_recipe(tmp_path, tones, PLAIN), [], Recipe))
    for name in ("train", "valid", "test"):
        ours, theirs = found.split(name), whole.split(name)
        assert [clip.path for clip in ours[0]] == [clip.path for clip in theirs[0]]
        assert ours[1] == theirs[1] and len(ours[0]) > 0
    both = [f"data.manifest=[{tmp_path / 'train.json'},{tmp_path / 'test.json'}]"]
    with pytest.warns(SpectrimNotice, match="is trained on, as none has a split"):
        resolve_task(read_recipe(recipe, both, Recipe))


def test_a_class_that_only_the_test_has_is_said(tones: Path, tmp_path: Path) -> None:
    text = tones.read_text().replace("low,test", "shrill,test")
    (tones.with_name("shrill.csv")).write_text(text)
    recipe = write_recipe(tmp_path, tones.with_name("shrill.csv"), PLAIN)
    with pytest.raises(SpectrimError, match=r"'shrill' is not a class of the model.*data\.labels"):
        resolve_task(read_recipe(recipe, [], Recipe))


def test_a_run_of_a_spectrim_that_knew_fewer_keys_goes_on(
    tones: Path, tmp_path: Path, run_spectrim
) -> None:
    recipe, out = write_recipe(tmp_path, tones, PLAIN), tmp_path / "run"
    assert run_spectrim("train", recipe, "epochs=1", "--out", out).returncode == 0
    settled = json.loads((out / "settled.json").read_text())
    del settled["recipe"]["data"]["test_manifest"], settled["recipe"]["teacher"]["load"]
    (out / "settled.json").write_text(json.dumps(settled))
    assert "is finished" in run_spectrim("train", recipe, "epochs=1", "--out", out).stderr
    done = run_spectrim("train", recipe, "epochs=1", "teacher.load={mean: 1}", "--out", out)
    assert done.returncode == 2 and "another recipe" in done.stderr
    # Keys below `load`, which is empty by default, are no difference from themselves.
    words = ("train", recipe, "epochs=1", "load.padding=zero", "--out", tmp_path / "other")
    assert run_spectrim(*words).returncode == 0
    assert "is finished" in run_spectrim(*words).stderr


def test_a_teacher_whose_file_names_no_classes(learned: Path, tones: Path, tmp_path: Path) -> None:
    teacher = spectrim.load(learned / "last")
    named = list(teacher.labels)
    spectrim.load(learned / "last", labels=["class 0", "class 1", "class 2"]).save(tmp_path / "t")
    recipe = write_recipe(tmp_path, tones, PLAIN)
    words = [f"teacher.model={tmp_path / 't'}", f"teacher.load.labels={json.dumps(named)}"]
    read = read_recipe(recipe, words, Recipe)
    made = Supervision(read, resolve_task(read), tmp_path / "cache", 0, 1).teacher
    assert made is not None and set(made.labels) == set(named)


def test_a_teacher_sees_all_patches_whatever_plan_it_was_saved_with(
    learned: Path, tones: Path, tmp_path: Path
) -> None:
    spectrim.prune(spectrim.load(learned / "last"), 0.5).save(tmp_path / "t")
    read = read_recipe(write_recipe(tmp_path, tones, PLAIN), [f"teacher.model={tmp_path / 't'}"],
                       Recipe)  # fmt: skip
    made = Supervision(read, resolve_task(read), tmp_path / "cache", 0, 1)
    assert made.teacher is not None and not made.teacher.plan.stages
    assert any("the plan of the teacher" in text for text in made.notes)


def test_own_code_of_a_checkpoint_is_found_where_one_stands(
    learned: Path, tones: Path, tmp_path: Path, run_spectrim
) -> None:
    """The recipe's own score is attention; only the model that it starts from has another."""
    (tmp_path / "my_scores.py").write_text("def mine(context):\n    return context.column_mean()\n")
    folder = spectrim.prune(spectrim.load(learned / "last"), 0.5).save(tmp_path / "m")
    told = (folder / "config.json").read_text()
    assert '"attention"' in told
    (folder / "config.json").write_text(told.replace('"attention"', '"my_scores:mine"'))
    recipe = write_recipe(tmp_path, tones, PLAIN)
    words = ("train", recipe, f"init={tmp_path / 'm'}", "--dry-run")
    assert run_spectrim(*words).returncode == 2
    done = run_spectrim(*words, "load.trust_code=true")
    assert done.returncode == 0, done.stderr


def test_scalars_that_cannot_be_written_stop_alone(tmp_path: Path, monkeypatch) -> None:
    """As on a full disk, where TensorBoard's writer raises from whatever is added next."""
    board = Board(tmp_path / "board", 0)
    board.write(1, {"train/loss": 1.0})

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(board.writer, "add_scalar", full)
    with pytest.warns(SpectrimNotice, match="board: no more TensorBoard scalars.*No space left"):
        board.write(2, {"train/loss": 0.5})
    board.write(3, {"train/loss": 0.4})
    board.close()
    (tmp_path / "file").write_text("")
    with pytest.warns(SpectrimNotice, match="no more TensorBoard"):
        Board(tmp_path / "file" / "below", 0).close()
