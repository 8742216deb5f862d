"""Paths that the system refuses are sentences."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spectrim.common import paths
from spectrim.common.errors import SpectrimError
from spectrim.common.files import save_text


def test_each_kind_is_told_apart(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    kinds = {
        "file": paths.FILE, ".": paths.FOLDER, "absent": paths.ABSENT, "file/below": paths.ABSENT,
        "pipe": paths.SPECIAL, "/dev/zero": paths.SPECIAL,
    }  # fmt: skip
    for name, kind in kinds.items():
        assert paths.file_type(tmp_path / name) == kind


@pytest.mark.parametrize("name", ["n" * 300, "n/" * 3000, "a\0b"])
def test_refused_paths_are_sentences(tmp_path, name):
    for ask in (paths.file_type, paths.is_file, paths.is_folder):
        with pytest.raises(SpectrimError, match="Name another path"):
            ask(tmp_path / name)
    with pytest.raises(SpectrimError, match="cannot write"):
        save_text(tmp_path / name, "text")


def test_a_link_to_itself_is_a_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SpectrimError, match="Name another path"):
        paths.file_type(tmp_path / "loop")


def test_unknown_users_are_named():
    with pytest.raises(SpectrimError, match=r"'~nosuchuser' names no user.* \./~nosuchuser"):
        paths.user_path("~nosuchuser/model")
    assert paths.user_path("~/a") == Path.home() / "a"


def test_no_device_or_pipe_is_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SpectrimError, match=r"cannot write .*pipe: it is a device, pipe or socket"):
        save_text(pipe, "text")
    assert paths.file_type(pipe) == paths.SPECIAL and os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(SpectrimError, match="cannot write"):
        save_text(Path("/dev/null"), "text")
    assert paths.file_type(Path("/dev/null")) == paths.SPECIAL
