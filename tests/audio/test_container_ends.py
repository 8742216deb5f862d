"""Bytes behind the end of a container, such as a joined file, are reported."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import soundfile

from spectrim.audio.decode import duration_of, read
from spectrim.common.errors import SpectrimError, SpectrimNotice

RATE = 16_000
SOUND = np.random.default_rng(0).normal(0, 0.1, RATE)
OF_LIBSNDFILE = ("AIFF", "AU", "CAF", "W64")
OF_FFMPEG = ("m4a", "mov", "wma", "tta")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
KINDS = [*OF_LIBSNDFILE, *(pytest.param(kind, marks=needs_ffmpeg) for kind in OF_FFMPEG)]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """`encoded("m4a")`: the bytes of one second of sound in a container, made once."""
    folder = tmp_path_factory.mktemp("containers")

    @cache
    def encoded(kind: str) -> bytes:
        if kind in OF_LIBSNDFILE:
            file = io.BytesIO()
            soundfile.write(file, SOUND, RATE, "PCM_16", format=kind)
            return file.getvalue()
        soundfile.write(folder / "a.wav", SOUND, RATE)
        path = folder / f"a.{kind}"
        command = ["ffmpeg", "-v", "error", "-i", str(folder / "a.wav"), str(path)]
        subprocess.run(command, check=True)
        return path.read_bytes()

    return encoded


@pytest.fixture
def whole(kind, encoded):
    return encoded(kind)


def notes_on(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpectrimNotice)
        samples = read(path)
    return len(samples), [str(note.message) for note in caught]


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_whole_file_is_reported(tmp_path, whole, kind):
    path = tmp_path / f"sound.{kind.lower()}"
    path.write_bytes(whole)
    count, notes = notes_on(path)
    assert abs(count - RATE) < 3000 and notes == []
    junk = np.random.default_rng(1).integers(0, 256, 9000, np.uint8).tobytes()
    for behind in (whole, junk):
        path.write_bytes(whole + behind)
        try:
            _, notes = notes_on(path)
        except SpectrimError as error:  # libsndfile refuses some
            notes = [str(error)]
        assert any(str(path) in note for note in notes), (kind, len(behind))
        follow = f"end at byte {len(whole)}, but {len(behind)} bytes follow"
        follow = "bytes follow" if kind == "tta" else follow  # its end has a tag
        assert kind == "AIFF" or any(follow in note for note in notes)
    path.write_bytes(whole + bytes(100 if kind == "tta" else 5000))  # padding
    assert notes_on(path)[1] == []


SHARES = (0.1, 0.5, 0.9)  # of the file
CUTS: list[Any] = [(kind, share) for kind in OF_LIBSNDFILE for share in SHARES]
CUTS += [
    # Each start of ffmpeg takes a while.
    pytest.param(kind, share, marks=[needs_ffmpeg, *([pytest.mark.slow] if share != 0.5 else [])])
    for kind in OF_FFMPEG
    for share in SHARES
]


@pytest.mark.parametrize(("kind", "share"), CUTS)
def test_a_truncated_file_has_no_bytes_behind_its_end(tmp_path, whole, kind, share):
    (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpectrimNotice)
        try:
            read(tmp_path / "cut")
        except SpectrimError as error:
            assert str(tmp_path / "cut") in str(error)
    assert not any("bytes follow" in str(note.message) for note in caught)


def test_the_length_of_joined_mp3_files_is_that_of_all(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format="MP3")
    (tmp_path / "one.mp3").write_bytes(file.getvalue())
    (tmp_path / "two.mp3").write_bytes(2 * file.getvalue())
    assert duration_of(tmp_path / "one.mp3") == pytest.approx(1.0, abs=0.1)
    assert duration_of(tmp_path / "two.mp3") == pytest.approx(2.0, abs=0.25)
    assert len(read(tmp_path / "two.mp3")) == pytest.approx(2 * RATE, abs=0.25 * RATE)
