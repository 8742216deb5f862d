"""Cached waveforms are those that decoding gives, whatever happens to sources and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError
from spectrim.data import cache
from spectrim.data.cache import Waveforms
from spectrim.data.clip import Clip


def write(path: Path, seed: int, samples: int = 8000, rate: int = 16_000) -> Path:
    noise = np.random.default_rng(seed).normal(0, 0.1, samples)
    soundfile.write(path, noise, rate)
    return path


@pytest.fixture
def sources(tmp_path) -> list[Clip]:
    folder = tmp_path / "sounds"
    folder.mkdir()
    rates = (16_000, 44_100, 8000)
    return [Clip(write(folder / f"{n}.wav", n, 9000, rate)) for n, rate in enumerate(rates)]


@pytest.fixture
def undecodable(monkeypatch):
    """From now on decoding fails: what is read was cached."""

    def forbid():
        def fail(*args):
            raise AssertionError("decoded again")

        monkeypatch.setattr(cache, "read", fail)

    return forbid


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_cache_gives_what_decoding_gives(sources, tmp_path, undecodable):
    expected = [read(clip.path) for clip in sources]
    waveforms = Waveforms(sources, tmp_path / "cache")
    assert len(waveforms) == 3
    for _ in range(2):
        for at, wanted in enumerate(expected):
            found = waveforms[at]
            assert found.dtype == np.float32 and np.array_equal(found, wanted)
        undecodable()
    assert len(files(tmp_path / "cache")) == 3
    again = Waveforms(sources, tmp_path / "cache")  # as another run of the same clips would
    assert all(np.array_equal(again[at], wanted) for at, wanted in enumerate(expected))


def test_a_real_recording(clips, tmp_path, undecodable):
    waveforms = Waveforms([Clip(clips["dog"])], tmp_path)
    expected = read(clips["dog"])
    assert np.array_equal(waveforms[0], expected)
    undecodable()
    assert np.array_equal(waveforms[0], expected)


def test_without_a_folder_it_decodes_each_time(sources, undecodable):
    waveforms = Waveforms(sources)
    assert np.array_equal(waveforms[1], read(sources[1].path))
    undecodable()
    with pytest.raises(AssertionError, match="decoded again"):
        waveforms[1]


def test_what_is_mapped_cannot_be_written_to(sources, tmp_path):
    waveforms = Waveforms(sources, tmp_path / "cache")
    assert np.array_equal(waveforms[0], waveforms[0])
    with pytest.raises(ValueError, match="read-only"):
        waveforms[0][0] = 1


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_source_is_decoded_anew(sources, tmp_path, change):
    waveforms, path = Waveforms(sources, tmp_path / "cache"), sources[0].path
    before, stamp = np.array(waveforms[0]), path.stat().st_mtime_ns
    write(path, 77, 9001 if change == "size" else 9000)
    os.utime(path, ns=(stamp, stamp + (change == "time")))
    after = waveforms[0]
    assert np.array_equal(after, read(path))
    assert not np.array_equal(after, before)


def test_parts_of_one_file_are_kept_apart(sources, tmp_path, undecodable):
    path = sources[0].path
    parts = [(None, None), (0.1, None), (0.1, 0.3), (None, 0.3), (0.2, 0.3), (0.10, 0.3)]
    listed = [Clip(path, start=start, end=end) for start, end in parts]
    expected = [read(path, start, end) for start, end in parts]
    assert [len(wave) for wave in expected] == [9000, 7400, 3200, 4800, 1600, 3200]
    waveforms = Waveforms(listed, tmp_path / "cache")
    for _ in range(2):
        assert all(np.array_equal(waveforms[at], wave) for at, wave in enumerate(expected))
        undecodable()
    assert len(files(tmp_path / "cache")) == 5  # the last is the third


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    ("start", "end", "seconds", "begin", "stop"),
    [
        (None, None, 0.25, 0, 4000),
        (0.1, None, 0.25, 1600, 5600),
        (0.1, 0.2, 0.25, 1600, 3200),
        (0.1, 0.5, 0.25, 1600, 5600),
        (None, None, 9.0, 0, 9000),
        (None, None, None, 0, 9000),
    ],
)
def test_no_more_is_read_than_the_network_hears(
    sources, tmp_path, folder, start, end, seconds, begin, stop
):
    clip = Clip(sources[0].path, start=start, end=end)
    whole = read(clip.path)
    waveforms = Waveforms([clip], tmp_path / "cache" if folder else None, seconds)
    for _ in range(2):
        assert np.array_equal(waveforms[0], whole[begin:stop])


def test_other_lengths_share_a_folder(sources, tmp_path):
    for seconds in (0.25, None, 0.5, 0.25):
        found = Waveforms(sources, tmp_path / "cache", seconds)[0]
        assert len(found) == (9000 if seconds is None else seconds * 16_000)


def test_a_relative_and_an_absolute_path_are_one_source(
    sources, tmp_path, monkeypatch, undecodable
):
    monkeypatch.chdir(tmp_path)
    one = np.array(Waveforms([Clip(Path("sounds/0.wav"))], Path("cache"))[0])
    undecodable()
    assert np.array_equal(Waveforms(sources, tmp_path / "cache")[0], one)


def damage(kind: str, whole: bytes) -> bytes:
    return {
        "cut at its end": whole[:-1],
        "cut in the middle": whole[: len(whole) // 2],
        "cut after its header": whole[:128],
        "cut in its header": whole[:60],
        "cut in its first bytes": whole[:4],
        "garbage": b"\x00\x01" * 500,
        "text": b"no array",
        "pickle": b"\x80\x04\x95",
        "empty": b"",
        "archive": b"PK\x03\x04" + b"\x00" * 100,
    }[kind]


ESCAPING = {"empty": "np.load raises EOFError", "archive": "np.load raises zipfile.BadZipFile"}


@pytest.mark.parametrize(
    "kind",
    [
        "cut at its end", "cut in the middle", "cut after its header", "cut in its header",
        "cut in its first bytes", "garbage", "text", "pickle",
        *(
            kind for kind in ESCAPING
        ),
    ],
)  # fmt: skip
def test_a_damaged_file_is_made_anew(sources, tmp_path, kind, undecodable):
    waveforms = Waveforms(sources, tmp_path / "cache")
    expected = np.array(waveforms[0])
    (file,) = files(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(damage(kind, whole))
    assert np.array_equal(waveforms[0], expected)
    assert file.read_bytes() == whole
    undecodable()
    assert np.array_equal(waveforms[0], expected)


def test_a_deleted_folder_is_made_anew(sources, tmp_path):
    waveforms = Waveforms(sources, tmp_path / "cache")
    expected = np.array(waveforms[0])
    for file in files(tmp_path / "cache"):
        file.unlink()
        file.parent.rmdir()
    assert np.array_equal(waveforms[0], expected)
    assert len(files(tmp_path / "cache")) == 1


def test_a_folder_that_cannot_be_written_to_is_named(sources, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SpectrimError, match=r"cannot write .*cache"):
        Waveforms(sources, tmp_path / "cache")[0]


def test_a_full_disk_is_said_and_leaves_nothing_behind(sources, tmp_path, monkeypatch):
    def full(path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(SpectrimError, match="No space left on device"):
        Waveforms(sources, tmp_path / "cache")[0]
    assert not files(tmp_path / "cache")


@pytest.mark.parametrize("folder", [True, False])
def test_a_source_that_is_missing_or_no_sound_is_named(tmp_path, folder):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    listed = [Clip(tmp_path / f"{name}.wav") for name in ("missing", "text", "empty")]
    waveforms = Waveforms(listed, tmp_path / "cache" if folder else None)
    for at, clip in enumerate(listed):
        with pytest.raises(SpectrimError, match=clip.path.name):
            waveforms[at]
    assert not (tmp_path / "cache").exists()


def test_a_source_that_went_missing_later_is_named(sources, tmp_path):
    waveforms = Waveforms(sources, tmp_path / "cache")
    assert len(waveforms[0])
    sources[0].path.unlink()
    with pytest.raises(SpectrimError, match=r"0\.wav: No such file"):
        waveforms[0]


WORKER = """
import sys, time
from pathlib import Path
import numpy as np
from spectrim.audio.decode import read
from spectrim.data.cache import Waveforms
from spectrim.data.clip import Clip
folder, number = Path(sys.argv[1]), int(sys.argv[2])
clips = [Clip(folder / "sounds" / f"{n}.wav") for n in range(6)]
waveforms = Waveforms(clips, folder / "cache")
wanted = [read(clip.path) for clip in clips]
(folder / f"ready-{number}").touch()
while len(list(folder.glob("ready-*"))) < 3:
    time.sleep(0.001)
for _ in range(20):
    for at in range(6):
        assert np.array_equal(waveforms[at], wanted[at]), at
        if number == 2:  # a cache may be emptied at any time
            for file in (folder / "cache").rglob("[!.]*.npy"):
                file.unlink(missing_ok=True)
"""


def test_processes_share_a_folder(tmp_path):
    """Three at once, one of which throws the files away again and again."""
    (tmp_path / "sounds").mkdir()
    for number in range(6):
        write(tmp_path / "sounds" / f"{number}.wav", number)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(number)], stderr=subprocess.PIPE
        )
        for number in range(3)
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    left = files(tmp_path / "cache")
    assert not [path for path in left if path.name.startswith(".")]
    assert all(len(np.load(path)) == 8000 for path in left)
