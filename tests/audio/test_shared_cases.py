"""The inputs of ../shared/cases, each with its right result; skipped where they are absent.

Sounds and tables made here, of the same kinds, are tested in test_lost_sound, test_channels,
test_other_decoders and data/test_odd_tables.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from spectrim.audio import ffmpeg, torchcodec
from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.manifest import read_data

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")


def with_notes(call):
    """What a call returns, and its notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if isinstance(w.message, SpectrimNotice)]


@pytest.mark.parametrize(("name", "seconds"), [("vbr-without-xing.mp3", 9.0), ("chained.ogg", 8.0)])
def test_sound_is_read_to_its_end(name, seconds):
    samples, _ = with_notes(lambda: read(CASES / name))
    assert len(samples) / 16_000 == pytest.approx(seconds, abs=0.1)


def test_a_header_of_0_bytes_is_noted():
    samples, notes = with_notes(lambda: read(CASES / "data-size-zero.wav"))
    size = (CASES / "data-size-zero.wav").stat().st_size
    assert len(samples) * 2 == pytest.approx(size, rel=0.02)  # 16 bits, 16 kHz
    assert len(notes) == 1 and "0 bytes" in notes[0] and "data-size-zero.wav" in notes[0]


@pytest.mark.parametrize("name", ["phone.m4a", "browser.webm"])
def test_formats_of_other_decoders(name, monkeypatch):
    if ffmpeg.is_available() or torchcodec.is_available():
        assert len(read(CASES / name)) > 16_000
    for module in (ffmpeg, torchcodec):
        monkeypatch.setattr(module, "is_available", lambda: False)
    with pytest.raises(SpectrimError, match=r"Install ffmpeg .* or convert"):
        read(CASES / name)


def test_one_channel_of_eight():
    """The fourth, which counts 3 from 0."""
    path = CASES / "one-of-eight-channels.wav"
    mean, notes = with_notes(lambda: read(path))
    assert len(notes) == 1 and "channel 3" in notes[0] and "--channel" in notes[0]
    loudest = read(path, channel="loudest")
    assert np.array_equal(loudest, read(path, channel=3))
    np.testing.assert_allclose(mean, loudest / 8, atol=1e-6)


@pytest.mark.parametrize("name", ["semicolon.csv", "utf16.csv", "capitals.csv"])
def test_tables_of_spreadsheets(name):
    manifest = read_data(CASES / name)
    assert manifest.clips and manifest.labelled
    assert all(clip.path.is_file() for clip in manifest.clips)


def test_a_file_in_train_and_test():
    _, notes = with_notes(lambda: read_data(CASES / "twice.csv"))
    assert any("base.wav" in note for note in notes)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
@pytest.mark.parametrize("start", [None, 0.5])
def test_a_damaged_ogg_is_an_error_wherever_it_is_read(start):
    with pytest.raises(SpectrimError, match=r"vorbis-crash-when-seeking\.ogg"):
        read(CASES / "vorbis-crash-when-seeking.ogg", start)


def test_a_decoder_writes_nothing_to_stderr(capfd):
    with pytest.raises(SpectrimError):
        read((CASES / "aiff-negative-seek.bin").read_bytes())
    assert capfd.readouterr().err == ""
