"""Truncated files are read to their end with a note; FFmpeg continues where libsndfile stops."""

from __future__ import annotations

import shutil
import struct
import warnings

import numpy as np
import pytest
import soundfile
from test_decode import written

from spectrim.audio import encoded_files
from spectrim.audio.decode import read
from spectrim.audio.streams import Stream
from spectrim.common.errors import SpectrimError, SpectrimNotice

RATE = 16_000
SOUND = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)


def read_with_notes(data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpectrimNotice)
        return read(data), [str(note.message) for note in caught]


@pytest.mark.parametrize("kind", ["WAV", "AU", "AIFF", "W64"])
def test_a_container_that_ends_early_is_read_with_a_note(kind):
    data = written(SOUND, RATE, kind, "PCM_16")
    assert read_with_notes(data)[1] == []
    samples, notes = read_with_notes(data[: len(data) // 2])
    assert abs(len(samples) - len(SOUND) // 2) < 3000
    assert len(notes) == 1 and f"but the file has {len(data) // 2} bytes" in notes[0]


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_length_that_programs_write_to_a_pipe_is_no_truncation(stated):
    data = bytearray(written(SOUND, RATE, "WAV", "PCM_16"))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", stated)
    samples, notes = read_with_notes(bytes(data))
    assert len(samples) == len(SOUND) and notes == []


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_without_its_last_page_is_read_with_a_note(subtype):
    data = written(SOUND, RATE, "OGG", subtype)
    assert read_with_notes(data)[1] == []
    last = data.rindex(b"OggS")
    for cut in (last, last + 20, len(data) - 1):  # between two pages, in a header, in a page
        samples, notes = read_with_notes(data[:cut])
        assert 0 < len(samples) < len(SOUND)
        assert len(notes) == 1 and "may be truncated" in notes[0]


@pytest.fixture
def libsndfile_stops(monkeypatch):
    """As libsndfile 1.2.2 does in the last second of some correct Opus files."""
    decode = Stream.decode

    def stop(stream, count):
        if stream.position >= RATE:
            raise soundfile.LibsndfileError(3)
        return decode(stream, min(count, RATE - stream.position))

    monkeypatch.setattr(Stream, "decode", stop)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on the PATH")
def test_ffmpeg_continues_where_libsndfile_stops(tmp_path, libsndfile_stops, monkeypatch):
    (tmp_path / "a.ogg").write_bytes(written(SOUND, RATE, "OGG", "VORBIS"))
    expected, _ = soundfile.read(tmp_path / "a.ogg", dtype="float32")
    samples, notes = read_with_notes(tmp_path / "a.ogg")
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples, expected, atol=2e-3)
    assert len(notes) == 1 and "libsndfile stops at 1.00 s" in notes[0]


def test_without_ffmpeg_the_error_of_libsndfile_stays(libsndfile_stops, monkeypatch):
    monkeypatch.setattr(encoded_files, "_decoders", lambda head: iter(()))
    with pytest.raises(SpectrimError, match="not readable as sound"):
        read(written(SOUND, RATE, "OGG", "VORBIS"))
