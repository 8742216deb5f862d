"""Which files of a folder are sounds, and what is left out of it."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import soundfile

from spectrim.audio.decode import read
from spectrim.audio.sound_formats import OTHER_SUFFIXES, SUFFIXES
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.manifest import read_data
from spectrim.data.sound_files import sound_files

SOUND = np.sin(np.arange(8000) / 9).astype(np.float32)


def tree(folder, *names):
    """Files of a second of a tone, in subfolders where the name has any."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, SOUND, 16_000, format="WAV", subtype="PCM_16")


def listed(folder):
    """Names below the folder, and the notices."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = sound_files(folder)
    notes = [str(w.message) for w in caught if w.category is SpectrimNotice]
    return [path.relative_to(folder).as_posix() for path in files], notes


def test_every_format_that_is_read_is_listed(tmp_path):
    formats = {
        ".wav": "WAV", ".w64": "W64", ".aifc": "AIFF", ".mp2": "MP3", ".rf64": "RF64",
        ".caf": "CAF", ".au": "AU", ".snd": "AU", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG",
        ".voc": "VOC", ".paf": "PAF", ".svx": "SVX", ".nist": "NIST", ".ircam": "IRCAM",
        ".avr": "AVR", ".pvf": "PVF", ".sds": "SDS",
    }  # fmt: skip
    for suffix, form in formats.items():
        soundfile.write(tmp_path / f"a{suffix}", SOUND, 16_000, format=form)
        assert len(read(tmp_path / f"a{suffix}")) >= 8000
    names, notes = listed(tmp_path)
    assert {name.removeprefix("a") for name in names} == set(formats) <= set(SUFFIXES)
    assert not notes


def test_links_are_followed_once_and_loops_end(tmp_path):
    tree(tmp_path, "data/real/b.wav", "elsewhere/c.wav")
    folder = tmp_path / "data"
    os.symlink(tmp_path / "elsewhere", folder / "a-link")
    os.symlink(folder, folder / "real" / "loop")
    os.symlink(folder / "real", folder / "again")
    os.symlink(tmp_path / "elsewhere" / "c.wav", folder / "file.wav")
    names, notes = listed(folder)
    assert names == ["a-link/c.wav", "file.wav", "real/b.wav"]
    assert len(notes) == 1
    assert "skipped 2 files: 2 links to folders that are listed already" in notes[0]
    assert [clip.path for clip in read_data(folder).clips] == [folder / name for name in names]


KINDS = ["2 .m4a", "1 .mp4", "1 .webm"]


@pytest.fixture
def phone(tmp_path):
    """A folder with files of a phone, text, hidden files, and a link to nothing."""
    tree(tmp_path, "a.wav", ".hidden/x.wav", "sub/.git/y.wav", "._a.wav", "notes.txt")
    tree(tmp_path, "b/phone.m4a", "b/c d.webm", "talk.mp4", "other.m4a")
    os.symlink(tmp_path / "gone.wav", tmp_path / "broken.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    return tmp_path


def test_what_is_skipped_is_counted_and_named(phone, monkeypatch):
    monkeypatch.setenv("PATH", "")  # without ffmpeg
    names, notes = listed(phone)
    assert names == ["a.wav"]
    (note,) = notes
    for text in (
        "skipped 7 files: 1 without a suffix of sound (1 .txt, the first is",
        f"4 that FFmpeg could decode ({', '.join(KINDS)}, the first is {phone / 'b/c d.webm'})",
        f"1 link to nothing (1 .wav, the first is {phone / 'broken.wav'})",
        f"1 pipe, socket or device (1 .wav, the first is {phone / 'pipe.wav'})",
        "Install ffmpeg",
    ):
        assert text in note
    assert ".hidden" not in note


def test_a_file_whose_status_cannot_be_read_is_left_to_its_reader(tmp_path):
    """As in a folder that may be listed, but not entered."""
    tree(tmp_path, "a.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "b.wav")  # the system refuses to follow it
    assert listed(tmp_path) == (["a.wav", "b.wav"], [])


def test_with_ffmpeg_its_files_are_listed(phone, monkeypatch):
    program = phone / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    names, notes = listed(phone)
    assert names == ["a.wav", "b/c d.webm", "b/phone.m4a", "other.m4a", "talk.mp4"]
    assert "skipped 4 files: 2 without a suffix of sound" in notes[0]  # notes.txt and ffmpeg
    assert "Install" not in notes[0]


def test_a_folder_without_a_sound_names_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(SpectrimError, match=r"no sound file in it or below.*Skipped 1 file: .*m4a"):
        sound_files(tmp_path)
    assert not set(SUFFIXES) & set(OTHER_SUFFIXES)


def test_a_link_that_the_system_refuses_stops_nothing(phone):
    """As a link into the folder of another user; here, its target has too long a name."""
    os.symlink("x" * 300, phone / "folder")
    names, notes = listed(phone)
    assert "a.wav" in names and "2 without a suffix of sound" in notes[0]
