"""Which clips a sweep chooses, and what its notes say."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from spectrim.common.errors import SpectrimNotice
from spectrim.data.clip import Clip
from spectrim.data.manifest import Manifest
from spectrim.deploy.calibration import calibration_clips
from spectrim.evaluation.choice_of_clips import clips_to_evaluate


def manifest(*splits):
    clips = tuple(Clip(Path(f"{n}.wav"), split=split) for n, split in enumerate(splits))
    return Manifest(Path("m.csv"), clips)


def test_the_test_split_is_chosen_with_a_note():
    with pytest.warns(SpectrimNotice, match="'test' only"):
        chosen = clips_to_evaluate(manifest("train", "test", "test"))
    assert [clip.split for clip in chosen.clips] == ["test", "test"]


def test_without_a_test_split_all_rows_are_used_with_a_note():
    with pytest.warns(SpectrimNotice, match=r"\(eval, train\)"):
        assert len(clips_to_evaluate(manifest("train", "eval")).clips) == 2


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_the_first_default_that_the_manifest_has_is_chosen(name):
    splits = manifest("train", name, "test")
    with pytest.warns(SpectrimNotice, match=f"'{name}' only"):
        chosen = clips_to_evaluate(splits, default=("valid", "validation"))
    assert [clip.split for clip in chosen.clips] == [name]


def test_a_split_that_is_asked_for_needs_no_note():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(clips_to_evaluate(manifest("train", "test"), "all").clips) == 2
        assert len(clips_to_evaluate(manifest("train", "test"), "train").clips) == 1


def test_calibration_takes_the_training_split():
    chosen = calibration_clips(manifest("test", "train", "train"))
    assert [clip.path.name for clip in chosen] == ["1.wav", "2.wav"]
