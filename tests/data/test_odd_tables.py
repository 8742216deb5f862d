"""Tables as spreadsheets write them, and clips that are listed more than once."""

from __future__ import annotations

import warnings

import pytest

from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.manifest import read_data
from spectrim.deploy.recordings.input_recordings import recordings_of

ROWS = [
    ("path", "label", "start", "end"),
    ("a.wav", "dog;rain", "0.5", "1.25"),
    ("b.wav", "Café", "", ""),
]


def notes_of(call):
    """The result of a call, and the notices that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if w.category is SpectrimNotice]


def table(separator: str, rows=ROWS, end: str = "\r\n") -> str:
    """A CSV text; cells that hold the separator are quoted."""
    return "".join(
        separator.join(f'"{cell}"' if separator in cell else cell for cell in row) + end
        for row in rows
    )


@pytest.mark.parametrize("name", ["m.csv", "m.json", "m.txt"])
def test_addresses_in_tables_are_whole(tmp_path, name):
    texts = {
        "m.csv": "path\nhttps://host.org/a.wav\n",
        "m.json": '{"data": [{"wav": "https://host.org/a.wav", "labels": "x"}]}',
        "m.txt": "https://host.org/a.wav\n",
    }
    (tmp_path / name).write_text(texts[name])
    (recording,) = recordings_of([tmp_path / name])
    with pytest.raises(
        SpectrimError, match=r"^https://host\.org/a\.wav: addresses are not fetched"
    ):
        read(recording.path)


CAPITALS = [("Path", " LABEL ", "Start", "END"), *ROWS[1:]]
COMMAS = [ROWS[0], ("a.wav", "dog;rain", "0,5", "1,25"), ROWS[2]]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (table(","), "utf-8"),
        (table(";"), "utf-8"),
        (table("\t"), "utf-8-sig"),
        (table("|"), "utf-8"),
        ("sep=;\r\n" + table(";"), "utf-8-sig"),
        ('"sep=\t"\r\n' + table("\t"), "utf-8"),
        ("sep=,\n" + table(",", end="\n"), "utf-8"),
        (table(","), "utf-16"),
        (table("\t"), "utf-16-le with mark"),
        (table("\t"), "utf-16-be with mark"),
        (table(";"), "utf-32"),
        (table(",", CAPITALS), "utf-8"),
        (table(";", CAPITALS), "utf-16"),
        (table(";", COMMAS), "utf-8"),
    ],
)
def test_tables_of_spreadsheets_are_read_alike(tmp_path, text, encoding):
    path = tmp_path / "m.csv"
    if encoding.endswith(" with mark"):
        text, encoding = "\ufeff" + text, encoding.removesuffix(" with mark")
    path.write_bytes(text.encode(encoding))
    (first, second), notes = notes_of(lambda: read_data(path).clips)
    assert (first.path, first.labels, first.start, first.end) == (
        tmp_path / "a.wav", ("dog", "rain"), 0.5, 1.25
    )  # fmt: skip
    assert (second.path, second.labels, second.start) == (tmp_path / "b.wav", ("Café",), None)
    assert second.row - first.row == 1 and first.row == 2 + text.lower().count("sep=")
    assert not notes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("path,label\na.wav,x\nb.wav,Caf\xe9\n".encode("latin-1"), r"line 3 has the byte 0xe9"),
        (table(",").encode("utf-16-le"), "bytes of value 0"),  # no mark
        (b"RIFF\x24\0\0\0WAVE", "bytes of value 0"),
        (b"file;label\na.wav;x\n", r"no column 'path' in line 1 \('file;label'\)"),
        (b"path;label\na.wav;x;y\n", "row 2: 3 cells for 2 columns"),
        (b"Path,path\na.wav,x\n", "'path' occurs more than once"),
        (b'path,start\na.wav,"0,5"\n', "start is '0,5'"),
    ],
)
def test_what_is_no_such_table_is_named(tmp_path, data, words):
    path = tmp_path / "m.csv"
    path.write_bytes(data)
    with pytest.raises(SpectrimError, match=words):
        read_data(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.m4a", r"a file of type \.m4a.*ffmpeg -i .*a\.m4a a\.wav"),
        ("-", "standard input is not read"),
        ("https://host/m.csv", r"^https://host/m\.csv: addresses are not fetched"),
        ("n" * 300 + ".csv", "too long"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # without ffmpeg
    if name == "a.m4a":
        (tmp_path / name).write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(SpectrimError, match=words):
        read_data(name)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.wav,dog,train\na.wav,dog,test\n", ["'test', 'train'", "too good"]),
        ("a.wav,dog,train\nb.wav,dog,train\na.wav,dog,train\n", ["(rows 2, 4)", "more than once"]),
        ("a.wav,dog,train\na.wav,rain,train\n", ["different labels, 'dog', 'rain'"]),
        ("a.wav,dog,train\nb.wav,dog,test\n", []),
    ],
)
def test_repeated_clips_are_reported(tmp_path, rows, words):
    path = tmp_path / "m.csv"
    path.write_text("path,label,split\n" + rows)
    _, notes = notes_of(lambda: read_data(path))
    assert len(notes) == bool(words)
    for text in [*words, str(path), str(tmp_path / "a.wav")] if words else []:
        assert text in notes[0]


def test_parts_of_a_file_are_no_repetition_and_folds_are_splits(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,label,fold,start,end\na.wav,x,1,0,1\na.wav,x,2,1,2\n")
    assert not notes_of(lambda: read_data(path))[1]
    path.write_text("path,label\na.wav,x\n./a.wav,x\n")
    (note,) = notes_of(lambda: read_data(path))[1]
    assert "(rows 2, 3) is listed more than once" in note
    path.write_text("path,label,fold,start,end\na.wav,x,1,0,1\na.wav,x,2,0,1\n")
    (note,) = notes_of(lambda: read_data(path))[1]
    assert "more than one split or fold, '1', '2'" in note
