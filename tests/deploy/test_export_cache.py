"""The cache of exported files: what a key depends on, damage, bounds, and places without it."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import spectrim
from spectrim.common.errors import SpectrimNotice
from spectrim.deploy import export_cache
from spectrim.deploy.export_cache import (
    cache_folder,
    clean,
    copy_cached,
    export_key,
    keep_in_cache,
)
from spectrim.pruning.plan import paper_plan


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "exports"


def test_the_key_changes_with_everything_that_the_file_depends_on(make, monkeypatch):
    model, clip = make("ast", depth=2), np.ones(400, np.float32)
    other_weights = make("ast", depth=2, padding="zero")
    variants = [
        (model, None, None),
        (other_weights, None, None),
        (spectrim.prune(model, 0.5, blocks=[0]), None, None),
        (spectrim.prune(model, 0.5, "intensity", blocks=[0]), None, None),
        (spectrim.prune(model, plan=paper_plan(0.5, reduction="tome", depth=2)), None, None),
        (model, "int8", None),
        (model, "int8", [[clip]]),
        (model, "int8", [[clip, clip]]),
        (model, "int8", [[clip], [clip]]),
        (model, "int8", [[2 * clip]]),
    ]
    keys = [export_key(*variant) for variant in variants]
    assert None not in keys and len(set(keys)) == len(keys)
    assert export_key(model.with_plan(model.plan)) == keys[0]
    monkeypatch.setattr(export_cache, "code_digest", lambda: "another release")
    assert export_key(model) not in keys


def test_code_of_the_user_is_never_cached(make, folder, tmp_path):
    model = spectrim.prune(make("ast", depth=2), 0.5, "extensions:peak", blocks=[0])
    assert export_key(model) is None
    (tmp_path / "x.onnx").write_bytes(b"file")
    keep_in_cache(None, tmp_path / "x.onnx")
    assert not copy_cached(None, tmp_path / "y.onnx") and not folder.exists()


def test_a_file_comes_back_unless_it_is_damaged(folder, tmp_path):
    source, out = tmp_path / "x.onnx", tmp_path / "out.onnx"
    source.write_bytes(b"graph and weights")
    assert not copy_cached("key", out)
    keep_in_cache("key", source)
    assert copy_cached("key", out) and out.read_bytes() == b"graph and weights"
    assert not copy_cached("other", out) and not copy_cached("ke", out)
    (file,) = folder.iterdir()
    file.write_bytes(b"graph and weighty")
    assert not copy_cached("key", out) and not file.exists()


def test_old_files_and_the_least_recently_used_ones_are_removed(folder, tmp_path):
    folder.mkdir(parents=True)
    now = time.time()
    for name, days in (("a", 0), ("b", 1), ("c", 2), ("d", 40), (".tmp", 50)):
        (folder / f"{name}.onnx").write_bytes(b"x" * 100)
        os.utime(folder / f"{name}.onnx", (now - days * 86400,) * 2)
    clean(folder, most_bytes=1000)
    assert sorted(path.stem for path in folder.iterdir()) == ["a", "b", "c"]
    clean(folder, most_bytes=250)
    assert sorted(path.stem for path in folder.iterdir()) == ["a", "b"]
    clean(folder, most_bytes=1)  # one file larger than the limit is still worth keeping
    assert [path.stem for path in folder.iterdir()] == ["a"]


def test_use_keeps_a_file(folder, tmp_path):
    source, out = tmp_path / "x.onnx", tmp_path / "out.onnx"
    source.write_bytes(b"used")
    keep_in_cache("key", source)
    (file,) = folder.iterdir()
    os.utime(file, (0, 0))
    assert copy_cached("key", out)
    assert file.stat().st_mtime > 1e9


def test_a_cache_that_cannot_be_written_to_is_a_notice(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SPECTRIM_CACHE", str(tmp_path / "file"))
    with pytest.warns(SpectrimNotice, match="not cached.*SPECTRIM_CACHE"):
        keep_in_cache("key", tmp_path / "file")
    assert not copy_cached("key", tmp_path / "out.onnx")


def test_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.delenv("SPECTRIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "spectrim" / "exports"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    assert cache_folder() is None
