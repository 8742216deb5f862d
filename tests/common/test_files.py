"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spectrim.common import files
from spectrim.common.errors import SpectrimError, nearest
from spectrim.common.files import save, save_arrays, save_json, save_text, written_aside
from spectrim.common.parse import read_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_replaced_and_alone(tmp_path):
    path = tmp_path / "new" / "deep" / "out.json"
    assert save_json(path, {"ü": [1, 2.5, None]}) == path
    assert read_json(path) == {"ü": [1, 2.5, None]}
    save_text(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["out.json"]


@pytest.mark.parametrize("name", ["arrays.npz", "arrays", "arrays.bin"])
@pytest.mark.parametrize("compress", [False, True])
def test_arrays_lie_under_the_very_name(tmp_path, name, compress):
    path = save_arrays(tmp_path / name, compress=compress, path=np.arange(3), texts=["a", "ü"])
    assert names(tmp_path) == [name]
    with np.load(path) as arrays:
        assert arrays["path"].tolist() == [0, 1, 2]
        assert arrays["texts"].tolist() == ["a", "ü"]


@pytest.mark.parametrize("fault", [RuntimeError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("begun", [False, True])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, fault, begun):
    path = tmp_path / "out.bin"
    path.write_text("old")

    def write(aside: Path) -> None:
        assert aside.parent == path.parent
        assert aside.suffix == path.suffix
        if begun:
            aside.write_text("half")
        raise fault("no space left")

    with pytest.raises(SpectrimError if fault is OSError else fault) as caught:
        save(path, write)
    if fault is OSError:
        assert str(path) in str(caught.value)
        assert "no space left" in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.bin"]


def test_until_the_end_the_old_file_stands(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with written_aside(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


def test_places_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("a regular file")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    for path in (file / "out.json", file / "deep" / "out.json", folder, tmp_path / ("n" * 300)):
        with pytest.raises(SpectrimError, match=r"cannot write .* Name another place") as caught:
            save_text(path, "text")
        assert str(path) in str(caught.value)
    for path in (Path("."), Path("")):
        with pytest.raises(SpectrimError, match=r"it is a folder\. Name a file"):
            save_text(path, "text")
    assert file.read_text() == "a regular file"
    assert names(tmp_path) == ["file", "folder"]
    assert names(folder) == ["kept"]


def test_json_that_cannot_be_read(tmp_path):
    path = tmp_path / "bad.json"
    for content in (b"", b"{", b"\xff\xfe{}", b'{"a": }'):
        path.write_bytes(content)
        with pytest.raises(SpectrimError, match=r"bad\.json is not valid JSON"):
            read_json(path)
    for place in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(SpectrimError, match="cannot read") as caught:
            read_json(place)
        assert str(place) in str(caught.value)


def test_nan_is_no_json_and_harms_no_file(tmp_path):
    path = tmp_path / "out.json"
    save_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["out.json"]


def test_nearest_names_what_is_close():
    assert nearest("ast-bse", ["ast-base", "other"]).startswith(" Did you mean 'ast-base'")
    assert "Did you mean" not in nearest("zzz", ["ast-base"])
    assert "'ast-base'" in nearest("zzz", ["ast-base"])


def test_temporary_files_of_killed_writers_are_removed(tmp_path):
    """On the next write of the same target: of dead processes here, and of a day ago elsewhere."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere = files._machine(), f"{int(files._machine(), 16) ^ 1:04x}"
    temporary = {
        f".x.{here}-{dead.pid}-0123abcd.json": False,
        ".x.0123abcd.json": True,  # of Spectrim 0.1, which stored no process
        f".x.{here}-{os.getpid()}-0123abcd.json": True,
        f".x.{elsewhere}-{dead.pid}-0123abcd.json": True,
        f".y.{here}-{dead.pid}-0123abcd.json": True,  # of another target
        f".x.{here}-{dead.pid}-0123abcd.npz": True,
        ".x.json": True,
    }
    for name in temporary:
        (tmp_path / name).write_text("{}")
    save_json(tmp_path / "x.json", {})
    left = {path.name for path in tmp_path.iterdir()} - {"x.json"}
    assert left == {name for name, stays in temporary.items() if stays}
    for name in (".x.0123abcd.json", f".x.{elsewhere}-{dead.pid}-0123abcd.json"):
        os.utime(tmp_path / name, (0, 0))
        save_json(tmp_path / "x.json", {})
        assert not (tmp_path / name).exists()
