"""Manifests: what is read, what is refused, and that both forms come round."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.batches import batches
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data, targets_of, write_manifest


def manifest(tmp_path, text, name="m.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_data(path)


def test_every_column_is_read(tmp_path):
    (clip,) = manifest(
        tmp_path,
        "path,label,split,fold,start,end,target_start,target_end,licence\n"
        "a/b.wav, Dog ; Rain,test,3,1.5,2.5,0.25,0.5,CC-BY\n",
    ).clips
    expected = Clip(
        tmp_path / "a/b.wav", ("Dog", "Rain"), "test", "3", 1.5, 2.5, 0.25, 0.5, 2, "CC-BY"
    )
    assert clip == expected


def test_written_manifests_are_read_back(tmp_path):
    clips = [
        Clip(tmp_path / "x" / "a.wav", ("one",), "test", None, 0.5, 1.0, row=2, licence="CC0"),
        Clip(tmp_path / "y, z.wav", ("Male speech, man speaking", "two"), "train", row=3),
    ]
    path = write_manifest(tmp_path / "deep" / "m.csv", clips)
    back = [Clip(**{**vars(c), "path": c.path.resolve()}) for c in read_data(path).clips]
    assert back == clips


def test_the_reference_json_is_read(tmp_path):
    data = {"data": [{"wav": "a.wav", "labels": "/m/09x0r,/m/05zppz"}, {"wav": "b.wav"}]}
    found = manifest(tmp_path, json.dumps(data), "m.json")
    assert [clip.labels for clip in found.clips] == [("/m/09x0r", "/m/05zppz"), ()]
    aliases = {"/m/09x0r": "Speech", "/m/05zppz": "Male speech, man speaking"}
    names = ["Rain", "Male speech, man speaking", "Speech"]
    assert targets_of(found, names, False, aliases) == [[1, 2], []]


def test_a_folder_is_a_manifest_without_labels(tmp_path):
    for name in ("b.wav", "sub/a.OGG", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = read_data(tmp_path)
    assert [clip.path.name for clip in found.clips] == ["b.wav", "a.OGG"]
    assert not found.labelled


def test_what_spreadsheets_windows_and_macos_write_is_read(tmp_path):
    """Empty columns beside, backslashes, a byte order mark, "._a.wav" beside "a.wav"."""
    for name in ("sub/a.wav", "sub/._a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = manifest(tmp_path, "\ufeffpath,label,,\r\n.\\sub\\a.wav,x,,\r\n,,,\r\n")
    assert found.clips == (Clip(tmp_path / "sub/a.wav", ("x",), row=2),)
    assert [clip.path.name for clip in read_data(tmp_path).clips] == ["a.wav"]
    found = manifest(tmp_path, '\ufeff{"data": [{"wav": "sub/a.wav"}]}', "m.json")
    assert found.clips[0].path == tmp_path / "sub/a.wav"
    (tmp_path / "odd\\name.wav").write_bytes(b"")  # such a file is itself, where there is one
    found = manifest(tmp_path, "path\nodd\\name.wav\nno\\where.wav\n")
    assert [clip.path.name for clip in found.clips] == ["odd\\name.wav", "no\\where.wav"]
    with pytest.raises(SpectrimError, match="row 2: 3 cells for 2 columns"):
        manifest(tmp_path, "path,label,\na.wav,x,y\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'path'"),
        ("path,label\n", "lists no clip"),
        ("file,label\na.wav,x\n", "no column 'path'"),
        ("path,label,label\na.wav,x,y\n", "'label' occurs more than once"),
        ("path,label\n,x\n", "row 2: the path is empty"),
        ("path,label\na.wav\n", "row 2: 1 cells for 2 columns"),
        ("path,start,end\na.wav,2,1\n", "row 2: end 1.0 is not after start 2.0"),
        ("path,start\na.wav,soon\n", "row 2: start is 'soon'"),
        ("path,target_start,target_end\na.wav,nan,1\n", "target_start is 'nan'"),
    ],
)
def test_bad_manifests_are_named(tmp_path, text, said):
    with pytest.raises(SpectrimError, match=said):
        manifest(tmp_path, text)


def test_bad_json_and_bytes_are_named(tmp_path):
    with pytest.raises(SpectrimError, match="not valid JSON"):
        manifest(tmp_path, "{", "m.json")
    with pytest.raises(SpectrimError, match="entry 1: the key 'wav'"):
        manifest(tmp_path, '{"data": [{"path": "a"}]}', "m.json")
    (tmp_path / "b.csv").write_bytes(b"path\n\xff\xfe.wav\n")
    with pytest.raises(SpectrimError, match="not a CSV file"):
        read_data(tmp_path / "b.csv")
    with pytest.raises(SpectrimError, match="no such file"):
        read_data(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpectrimError, match="no sound file"):
        read_data(tmp_path / "empty")


def test_an_unknown_column_is_said(tmp_path):
    with pytest.warns(SpectrimNotice, match="'lable' is ignored.*'label'"):
        manifest(tmp_path, "path,lable\na.wav,x\n")


def test_unknown_and_missing_labels_name_the_row(tmp_path):
    found = manifest(tmp_path, "path,label\na.wav,Dgo\n")
    with pytest.raises(SpectrimError, match=r"row 2 \(a.wav\): label 'Dgo'.*Did you mean 'Dog'"):
        targets_of(found, ["Dog", "Rain"], True, {})
    found = manifest(tmp_path, "path,label\na.wav,Dog;Rain\n")
    with pytest.raises(SpectrimError, match="2 labels; accuracy needs exactly one"):
        targets_of(found, ["Dog", "Rain"], True, {})
    assert targets_of(found, ["Dog", "Rain"], False, {}) == [[0, 1]]


def test_select_names_what_there_is(tmp_path):
    found = manifest(tmp_path, "path,split,fold\na.wav,train,1\nb.wav,test,2\n")
    assert [c.path.name for c in found.select("test", "2").clips] == ["b.wav"]
    with pytest.raises(SpectrimError, match="has test, train"):
        found.select("valid")
    with pytest.raises(SpectrimError, match="no clip of fold"):
        found.select("test", "1")


def test_batches_keep_order_and_report_what_cannot_be_read(tmp_path):
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", np.full(8000, number / 10, "f4"), 16_000)
    (tmp_path / "2.wav").write_bytes(b"no sound")
    clips = read_data(tmp_path).clips
    found = list(batches(clips, 2))
    assert [b.positions for b in found] == [[0, 1], [3], [4]]
    assert [w.mean().round(3) for b in found for w in b.waveforms] == pytest.approx(
        [0, 0.1, 0.3, 0.4], abs=1e-3
    )
    ((position, message),) = found[1].failures
    assert position == 2 and "2.wav" in message


def test_start_and_end_are_the_part_that_is_read(tmp_path):
    ramp = np.arange(16_000, dtype="f4") / 16_000
    soundfile.write(tmp_path / "a.wav", ramp, 16_000, subtype="FLOAT")
    (batch,) = batches([Clip(tmp_path / "a.wav", start=0.25, end=0.75)], 1, seconds=0.25)
    np.testing.assert_array_equal(batch.waveforms[0], ramp[4000:8000])
