"""Whatever cannot be read gives one sentence with its name and the way out; nothing hangs."""

from __future__ import annotations

import io
import math
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_decode import FORMATS, sweep, written

from spectrim.audio import streams
from spectrim.audio.decode import blocks, duration_of, read
from spectrim.common.errors import SpectrimError, SpectrimNotice

ONE = np.sin(np.arange(16000) / 9).astype(np.float32)


def wav(rate: int = 16000, channels: int = 1, data: bytes = bytes(8000)) -> bytes:
    """A 16-bit WAV with any header."""
    sizes = (rate * channels * 2) & 0xFFFFFFFF, (channels * 2) & 0xFFFF, 16
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, channels, rate, *sizes)
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


BAD_FILES = {
    "empty": (b"", "empty"),
    "header only": (wav(data=b""), "is empty; expected at least 25 ms"),
    "half a header": (wav()[:20], "not readable as sound"),
    "text": (b"path,label\na.wav,dog\n" * 50, "Format not recognised"),
    "24.9 ms": (wav(data=bytes(2 * 399)), "lasts 24.9 ms; expected at least 25 ms"),
    "rate 0": (wav(rate=0), "not readable as sound"),
    "rate 1": (wav(rate=1), "rate of 1 Hz; expected 100"),
    "rate 2 GHz": (wav(rate=2**31 - 1), "expected 100 to 10000000 Hz"),
    "no channels": (wav(channels=0), "Channel count is zero"),
    "too many channels": (wav(channels=65535), "Too many channels"),
    "not a number": (written(np.append(ONE, np.nan), 16000, "WAV", "FLOAT"), "at 1.000 s"),
    "infinite": (written(np.append(ONE, -np.inf), 16000, "WAV", "FLOAT"), "is not finite"),
    "absurdly loud": (written(ONE * 1e30, 16000, "WAV", "FLOAT"), "far too large"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(tmp_path, kind):
    data, reason = BAD_FILES[kind]
    path = tmp_path / f"{kind}.wav"
    path.write_bytes(data)
    with pytest.raises(SpectrimError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    with pytest.raises(SpectrimError):
        read(data)
    with pytest.raises(SpectrimError):
        read(io.BytesIO(data))
    duration_of(path)  # a number or None, no error


def test_paths_that_are_no_files(tmp_path):
    file = tmp_path / "a.raw"
    file.write_bytes(bytes(1000))
    for path, reason in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing.wav", "no such file"),
        (file / "below.wav", "no such file"),
        (file, "not readable as sound"),
        (tmp_path / ("n" * 5000), "too long"),
        (Path("nul\0byte.wav"), "no such file"),
    ):
        with pytest.raises(SpectrimError, match=reason) as caught:
            read(path)
        # Messages show control characters as escapes.
        assert str(path).replace("\0", "\\x00") in str(caught.value)
        assert duration_of(path) is None


def test_files_that_are_closed_or_text(tmp_path, capfd):
    path = tmp_path / "a.wav"
    path.write_bytes(wav())
    message = r'a\.wav: the file is open as text. .*"rb"'
    with path.open(encoding="latin-1") as text, pytest.raises(SpectrimError, match=message):
        read(text)
    with pytest.raises(SpectrimError, match="closed"):
        read(text)
    message = r'b\.wav: the file is open for writing. .*"rb"'
    with (tmp_path / "b.wav").open("wb") as out, pytest.raises(SpectrimError, match=message):
        read(out)
    assert not capfd.readouterr().err, "a traceback from a C callback"


@pytest.mark.parametrize("rate", [0, -16000, math.nan, math.inf, 0.3, 1e12, "abc", None, 1j, [1]])
def test_bad_rates(rate):
    for call in (read, duration_of):
        with pytest.raises(SpectrimError, match=r"\(samples, rate\), with a rate of 100 to"):
            call((ONE, rate))


BAD_ARRAYS = {
    "empty": (np.zeros(0), "is empty"),
    "short": (np.zeros(199), "lasts 12.4 ms"),
    "no channels": (np.zeros((16000, 0)), "expected .samples,. or"),
    "channels first": (np.zeros((2, 16000)), "Transpose channels-first"),
    "three axes": (np.zeros((9, 2, 2)), "shape .9, 2, 2."),
    "a number": (0.5, r"shape \(\)"),
    "nothing": (None, r"shape \(\)"),
    "complex": (ONE.astype(complex), "type complex128; expected float"),
    "bool": (ONE > 0, "type bool"),
    "text": (["a", "b"], "type <U1"),
    "64-bit integers": ([1000, -1000] * 8000, "type int64; .*int16"),
    "ragged": ([[1.0, 2.0], [3.0]], "cannot be converted to an array"),
    "not a number": (np.append(ONE, np.nan), "at 1.000 s is not finite"),
    "infinite": (np.append(ONE, np.inf), "not finite"),
    "too large for float32": (np.append(ONE.astype(float), 1e300), "at 1.000 s"),
    "two infinities": (np.array([[np.inf, -np.inf]] * 9000), "not finite"),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
@pytest.mark.parametrize("rate", [16000, 8000])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_bad_arrays(kind, rate):
    samples, reason = BAD_ARRAYS[kind]
    if rate == 8000:  # what tells a time tells another
        reason = reason.replace("12.4", "24.9").replace("1.000", "2.000")
    with pytest.raises(SpectrimError, match=r"^\(samples, rate\): .*" + reason):
        read((samples, rate))


@pytest.mark.parametrize("sound", [ONE, torch.zeros(16000), [ONE, 16000], 3, None])
def test_what_is_no_sound_is_told_what_to_do(sound):
    with pytest.raises(SpectrimError, match=r"Pass an array together with its sampling rate"):
        read(sound)


@pytest.mark.parametrize("sound", [(), (ONE,), (ONE, 16000, 1)])
def test_tuples_of_another_length(sound):
    with pytest.raises(SpectrimError, match=r"a sound in memory is a tuple \(samples, rate\)"):
        read(sound)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (-1, None), (None, -1), (None, 0), (0.5, 0.5), (0.6, 0.5), (math.nan, None),
        (None, math.nan), (math.inf, None), (1e300, None), (1.5, None), (0.99, None),
        (0.5, 0.51), (0, 1e-9), (-math.inf, math.inf),
    ],
)  # fmt: skip
def test_parts_that_hold_no_sound(tmp_path, start, end):
    path = tmp_path / "one.wav"
    path.write_bytes(written(ONE, 16000, "WAV", "FLOAT"))
    for sound, name in ((path, str(path)), ((ONE, 16000), "(samples, rate)")):
        with pytest.raises(SpectrimError, match=r"0 <= start < end|at least 25 ms") as caught:
            read(sound, start, end)
        assert name in str(caught.value)


def test_a_fault_is_placed_in_the_file_not_in_the_part():
    with pytest.raises(SpectrimError, match=r"at 1\.000 s"):
        read((np.append(ONE, np.nan), 16000), start=0.5)


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_files(tmp_path, kind):
    """Read as far as they go with a note; FLAC raises where the damage begins."""
    form, subtype, rate, _ = FORMATS[kind]
    data = written(sweep(rate, 20), rate, form, subtype)
    path = tmp_path / kind
    path.write_bytes(data[: int(len(data) * 0.8)])
    parts = []
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        try:
            for part in blocks(path):
                parts.append(part)
            assert form != "FLAC"
        except SpectrimError as error:
            assert form == "FLAC"
            assert str(path) in str(error)
    got, whole = np.concatenate(parts), read(data)
    assert (5 if form == "FLAC" else 10) < len(got) / 16000 < 18
    same = slice(0, len(got) - 4000)
    assert np.abs(got[same] - whole[same]).max() < 1e-3
    told = [str(notice.message) for notice in notices if notice.category is SpectrimNotice]
    assert len(told) == (form != "FLAC")
    assert all(str(path) in text and "may be truncated" in text for text in told)
    assert form != "MP3" or "20.0 s in the header" in told[0]


def test_damaged_files_neither_crash_nor_hang(tmp_path):
    """Random damage, in a process of its own: a sound or a SpectrimError each time."""
    script = Path(__file__).with_name("damage.py")
    run = [sys.executable, str(script), str(tmp_path), "12"]
    environment = os.environ | {"PATH": ""}  # a process of FFmpeg per file would take long
    result = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert not result.stderr
    assert result.stdout.split()[-1] == "done"


def test_files_are_opened_one_at_a_time(monkeypatch, tmp_path):
    """libsndfile has one variable for the reason why a file cannot be opened."""
    is_locked = []
    whole = soundfile.SoundFile.__init__

    def spy(self, *arguments, **options):
        is_locked.append(streams.OPENING.locked())
        whole(self, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", spy)
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    is_locked.clear()  # soundfile.write opened a file, too
    read(tmp_path / "a.flac")
    with pytest.raises(SpectrimError, match=r"b\.wav"):
        read(tmp_path / "b.wav")
    assert len(is_locked) >= 2 and all(is_locked)
    assert not streams.OPENING.locked()
