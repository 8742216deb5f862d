"""The reference's JSON, written and read back; a file a split or fold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data import trees
from spectrim.common.errors import SpectrimError
from spectrim.data.clip import Clip
from spectrim.data.corpora import prepare
from spectrim.data.json_manifest import read_json_manifest, write_json_manifest
from spectrim.data.manifest import read_data


def test_what_is_written_is_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = [
        Clip(tmp_path / "a.wav", ("/m/09x0r", "/t/dd00088"), "test"),
        Clip(Path("b.wav"), ("Dog",)),
        Clip(tmp_path / "c.wav"),
    ]
    path = write_json_manifest(tmp_path / "deep" / "m.json", clips)
    assert json.loads(path.read_text()) == {
        "data": [
            {"wav": str(tmp_path / "a.wav"), "labels": "/m/09x0r,/t/dd00088"},
            {"wav": str(tmp_path / "b.wav"), "labels": "Dog"},
            {"wav": str(tmp_path / "c.wav"), "labels": ""},
        ]
    }
    back = read_data(path).clips
    assert [clip.path for clip in back] == [tmp_path / f"{name}.wav" for name in "abc"]
    assert [clip.labels for clip in back] == [clip.labels for clip in clips]


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (
            Clip(Path("a.wav"), ("Male speech, man speaking",)),
            "'Male speech, man.* contains a comma",
        ),
        (Clip(Path("a.wav"), ("Dog",), start=1.0), "from 1 s to its end"),
        (Clip(Path("a.wav"), ("Dog",), end=2.5), "from 0 s to 2.5 s"),
    ],
)
def test_what_the_form_cannot_say_is_refused(tmp_path, clip, said):
    with pytest.raises(SpectrimError, match=said):
        write_json_manifest(tmp_path / "m.json", [clip])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("corpus", "names"),
    [
        ("audioset", ["balanced-test", "balanced-train", "full-test", "full-train"]),
        ("esc50", [f"fold{n}" for n in range(1, 6)]),
        ("voxceleb1", ["test", "train", "valid"]),
        ("speechcommands", ["test", "train", "valid"]),
    ],
)
def test_corpora_are_a_file_a_part(tmp_path, corpus, names):
    folder = trees.TREES[corpus](tmp_path / "corpus")
    written = prepare(corpus, folder, tmp_path / "json", "json").paths
    assert [path.name for path in written] == [f"{corpus}-{name}.json" for name in names]
    both = []
    for path in prepare(corpus, folder, tmp_path / "csv").paths:
        both += [(c.path.resolve(), c.labels) for c in read_data(path).clips]
    found = [(c.path, c.labels) for path in written for c in read_data(path).clips]
    assert sorted(found) == sorted(both)
    assert all(path.is_absolute() and path.is_file() for path, _ in found)


def test_folds_and_mixtures_go_apart(tmp_path):
    written = prepare("esc10", trees.esc10(tmp_path / "esc"), tmp_path / "out", "json").paths
    assert [path.name for path in written] == [
        "esc10-fold1.json",
        "esc10-fold2.json",
        "esc10-mixtures-fold1.json",
        "esc10-mixtures-fold2.json",
    ]
    clips = read_data(written[2]).clips
    assert all(len(c.labels) == 2 and c.path.is_file() and c.path.name[0] == "1" for c in clips)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ('["Dog", "Speech, male"]', ("Dog", "Speech, male")),
        ("null", ()),
        ('"Dog, Rain"', ("Dog", "Rain")),
    ],
)
def test_labels_are_text_or_a_list_of_it(tmp_path, labels, names):
    path = tmp_path / "m.json"
    path.write_text(f'{{"data": [{{"wav": "a.wav", "labels": {labels}}}]}}')
    assert read_json_manifest(path)[0].labels == names
    for bad in ("3", '{"a": 1}', "[1]"):
        path.write_text(f'{{"data": [{{"wav": "a.wav", "labels": {bad}}}]}}')
        with pytest.raises(SpectrimError, match=r"m\.json, entry 1: 'labels' is"):
            read_json_manifest(path)
