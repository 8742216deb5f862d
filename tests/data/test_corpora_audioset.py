"""AudioSet: lists with comments, ids of any letters, files by any of the usual names."""

from __future__ import annotations

import pytest

from data import trees
from spectrim.common.errors import SpectrimError
from spectrim.data.corpora import prepare
from spectrim.data.manifest import read_data, targets_of
from spectrim.models.labels import audioset, audioset_labels


@pytest.fixture
def folder(tmp_path):
    """The tree, with all three lists."""
    return trees.audioset(tmp_path / "as")


def test_both_manifests(folder, tmp_path):
    result = prepare("audioset", folder, tmp_path / "out")
    balanced, full = (read_data(path) for path in result.paths)
    assert [path.name for path in result.paths] == ["audioset-balanced.csv", "audioset-full.csv"]
    assert [(c.path.name, c.labels, c.split) for c in balanced.clips] == [
        ("--PJHxphWEs.wav", ("/m/09x0r", "/t/dd00088"), "train"),
        ("_aBcDeFgHiJ_0.flac", ("/m/05zppz",), "train"),
        ("YYabcdefghij_30.000_40.000.wav", ("/m/09x0r",), "train"),
        ("-0RWZT-miFs_420_430.wav", ("/m/03v3yw",), "test"),
        ("Yeval0000001.ogg", ("/m/09x0r",), "test"),
    ]
    assert result.missing == ["gone0000000"]
    assert result.counts["audioset-full"] == {"test": 2, "train": 5}
    assert [c.path.name for c in full.clips if "unbal" in c.path.name] == [
        "unbal000001_20000_30000.wav",
        "unbal000002_20.0_30.0.wav",
    ]
    assert all(c.path.is_file() for c in full.clips)
    targets = targets_of(balanced, audioset_labels(), False, dict(audioset()))
    assert {audioset_labels()[at] for at in targets[0]} == {"Speech", "Gush"}


def test_without_the_unbalanced_list(folder, tmp_path):
    (folder / "unbalanced_train_segments.csv").unlink()
    result = prepare("audioset", folder, tmp_path / "out")
    assert [path.name for path in result.paths] == ["audioset-balanced.csv"]


def test_another_segment_of_the_video_is_not_taken(folder, tmp_path):
    path = folder / "audio" / "train" / "_aBcDeFgHiJ_0.flac"
    path.rename(path.with_name("_aBcDeFgHiJ_10.flac"))
    assert prepare("audioset", folder, tmp_path / "out").missing == ["_aBcDeFgHiJ", "gone0000000"]


def test_one_of_two_files_is_chosen_by_name_not_by_chance(folder, tmp_path):
    trees.sound(folder / "a" / "--PJHxphWEs.flac")
    trees.sound(folder / "a" / "--PJHxphWEs.wav")
    clip = read_data(prepare("audioset", folder, tmp_path / "out").paths[0]).clips[0]
    assert clip.path.parent.name == "a" and clip.path.suffix == ".wav"


def test_the_folders_own_classes_are_used(folder, tmp_path):
    trees.text(folder / "class_labels_indices.csv", "index,mid,display_name", '0,/m/09x0r,"Speech"')
    with pytest.raises(SpectrimError, match=r"segments.csv, line 4: '/t/dd00088' is not a class"):
        prepare("audioset", folder, tmp_path / "out")
    trees.text(folder / "class_labels_indices.csv", "index,name", "0,Speech")
    with pytest.raises(SpectrimError, match="no column 'mid'"):
        prepare("audioset", folder, tmp_path / "out")


def test_no_clip_at_all_is_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # without ffmpeg
    for path in (folder / "audio").rglob("*.*"):
        path.rename(path.with_suffix(".m4a"))
    with pytest.raises(SpectrimError, match=r"none of the 8 clips.*\(7 of .m4a.*install ffmpeg\)"):
        prepare("audioset", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("--PJHxphWEs, 30.000, 40.000", "line 1: .*Expected YTID, start, end"),
        ('--PJHxphWEs, soon, 40.000, "/m/09x0r"', "line 1: .*Expected YTID, start, end"),
        ('--PJHxphWEs, nan, 40.000, "/m/09x0r"', "line 1: .*Expected YTID, start, end"),
        ('--PJHxphWEs, 30, 40, "/m/nothing"', "line 1: '/m/nothing' is not a class of AudioSet"),
    ],
)
def test_wrong_rows_are_named(folder, tmp_path, row, said):
    trees.text(folder / "eval_segments.csv", row)
    with pytest.raises(SpectrimError, match=said):
        prepare("audioset", folder, tmp_path / "out")


def test_an_absent_list_is_named(folder, tmp_path):
    (folder / "eval_segments.csv").unlink()
    with pytest.raises(SpectrimError, match=r"eval_segments.csv: No such file"):
        prepare("audioset", folder, tmp_path / "out")
