"""`check` warns where the clips may be training clips of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrim.data.clip import Clip
from spectrim.data.manifest import Manifest, write_manifest
from spectrim.evaluation.training_clips import training_clips

RECIPE = "model: {init: null}\ndata:\n  manifest: %s\n  train_split: train\n  test_fold: %s\n"


def clip(path, **fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Clip(path, **fields)


@pytest.fixture
def trained(tmp_path):
    """A run folder, whose recipe trains on two of three clips by split, or two of three by fold."""
    clips = [
        clip(tmp_path / "sounds" / f"{n}.wav", split=split, fold=fold)
        for n, (split, fold) in enumerate([("train", "1"), ("train", "2"), ("test", "3")])
    ]
    write_manifest(tmp_path / "all.csv", clips)
    (tmp_path / "run" / "best").mkdir(parents=True)

    def with_recipe(test_fold):
        (tmp_path / "run" / "recipe.yaml").write_text(RECIPE % (tmp_path / "all.csv", test_fold))
        return str(tmp_path / "run" / "best"), clips

    return with_recipe


def warned(model, *clips):
    return training_clips(model, Manifest(Path("clips.csv"), clips))


def test_the_recipe_of_the_model_names_its_training_clips(trained):
    model, (first, second, held_out) = trained("null")
    assert warned(model, first, held_out) == f"1 of 2 clips are training clips of {model}"
    assert warned(model, held_out) is None
    model, _ = trained("'2'")
    assert warned(model, first, second, held_out).startswith("2 of 3 clips are training clips")
    assert warned(model, second) is None


def test_a_recipe_that_cannot_be_read_says_nothing(trained, tmp_path):
    model, (first, _, held_out) = trained("null")
    (tmp_path / "all.csv").unlink()
    assert warned(model, held_out) is None
    assert warned(model, first) == "1 of 1 clips are of split 'train'"
    (tmp_path / "run" / "recipe.yaml").write_text("[not: a recipe")
    assert warned(model, held_out) is None


def test_splits_and_folders_are_named(tmp_path):
    rows = [clip(tmp_path / f"{n}.wav", split=split) for n, split in enumerate(("train", "valid"))]
    assert warned("x", *rows) == "1 of 2 clips are of split 'train'"
    assert warned("x", rows[1]) is None
    inside = clip(tmp_path / "train" / "a.wav")
    assert warned("x", inside) == "clips lie in a folder called 'train'"
    assert warned("x", clip(tmp_path / "train" / "b.wav", split="test")) is None
    assert warned("x", clip(tmp_path / "trainers" / "a.wav")) is None
