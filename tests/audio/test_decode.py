"""Decoding: formats, rates, channels, parts, and every way to hand over a sound."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import soxr
import torch

from spectrim.audio import decode
from spectrim.audio.decode import blocks, duration_of, read, sound_name

FORMATS = {  # format, subtype, rate, how far level and waveform may be off
    "u8.wav": ("WAV", "PCM_U8", 44100, 3e-2),
    "16.wav": ("WAV", "PCM_16", 44100, 1e-3),
    "24.wav": ("WAV", "PCM_24", 44100, 1e-3),
    "float.wav": ("WAV", "FLOAT", 44100, 1e-3),
    "double.wav": ("WAV", "DOUBLE", 44100, 1e-3),
    "16.flac": ("FLAC", "PCM_16", 44100, 1e-3),
    "24.flac": ("FLAC", "PCM_24", 44100, 1e-3),
    "vorbis.ogg": ("OGG", "VORBIS", 44100, 3e-2),
    "opus.opus": ("OGG", "OPUS", 48000, 3e-2),
    "mp3.mp3": ("MP3", "MPEG_LAYER_III", 44100, 5e-2),
}
RATES = (8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000)
HZ, LEVEL = 1000.0, 0.5


def sine(rate: int, seconds: float = 1.5, channels: int = 1) -> np.ndarray:
    """(samples, channels): a sine in the first channel, silence in the others."""
    samples = np.zeros((round(rate * seconds), channels))
    samples[:, 0] = LEVEL * np.sin(2 * np.pi * HZ * np.arange(len(samples)) / rate)
    return samples


def written(samples: np.ndarray, rate: int, form: str, subtype: str | None) -> bytes:
    """The bytes of a sound file."""
    if form not in soundfile.available_formats():
        pytest.skip(f"this libsndfile writes no {form}")
    if subtype not in (None, *soundfile.available_subtypes(form)):
        pytest.skip(f"this libsndfile writes no {subtype} in {form}")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def sweep(rate: int, seconds: float) -> np.ndarray:
    """(samples,): never the same twice, so that a shift shows."""
    t = np.arange(round(rate * seconds)) / rate
    return 0.4 * np.sin(2 * np.pi * (200 * t + 100 * t * t))


def assert_sine(samples: np.ndarray, level: float, tolerance: float) -> None:
    """The middle second is the sine of `level`, at its frequency and phase, and nothing else."""
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    middle = slice(4000, -4000)
    wanted = level * np.sin(2 * np.pi * HZ * np.arange(len(samples)) / 16000)
    assert np.abs(samples - wanted)[middle].max() < tolerance * LEVEL


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(tmp_path, kind):
    form, subtype, rate, tolerance = FORMATS[kind]
    path = tmp_path / kind
    path.write_bytes(written(sine(rate), rate, form, subtype))
    samples = read(path)
    assert len(samples) == 24000
    assert_sine(samples, LEVEL, tolerance)
    assert duration_of(path) == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_rates_keep_frequency_level_and_length(rate):
    samples = read(written(sine(rate), rate, "WAV", "FLOAT"))
    assert len(samples) == pytest.approx(24000, abs=1)
    assert_sine(samples, LEVEL, 1e-3)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 192000])
def test_what_lies_above_8_khz_is_filtered_out(rate):
    t = np.arange(rate) / rate
    samples = read((np.sin(2 * np.pi * 9500 * t).astype(np.float32), rate))
    assert np.abs(samples[2000:-2000]).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", ["16.wav", "16.flac", "vorbis.ogg", "opus.opus", "mp3.mp3"])
def test_channels_are_averaged(kind, channels):
    form, subtype, rate, tolerance = FORMATS[kind]
    if form == "MP3" and channels > 2:
        pytest.skip("MP3 has no more than two channels here")
    samples = read(written(sine(rate, channels=channels), rate, form, subtype))
    assert_sine(samples, LEVEL / channels, tolerance)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("extra", [0, 1, 123])
def test_blocks_equal_the_whole_resampled_at_once(rate, extra):
    rng = np.random.default_rng(rate)
    samples = rng.normal(0, 0.1, 3 * rate + extra).astype(np.float32)
    with mock.patch.object(decode, "BLOCK_SECONDS", 1):
        parts = list(blocks((samples, rate)))
        from_file = read(written(samples, rate, "WAV", "FLOAT"))
    assert len(parts) >= 3
    whole = soxr.resample(samples, rate, 16000, quality="HQ") if rate != 16000 else samples
    assert np.concatenate(parts).shape == whole.shape
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-6
    assert np.array_equal(np.concatenate(parts), from_file)


def test_blocks_end_where_ten_seconds_do():
    """Real block size: exactly one block, one sample less, one more."""
    for samples in (159999, 160000, 160001, 320000):
        sizes = [len(part) for part in blocks((np.ones(samples, np.float32), 16000))]
        assert sum(sizes) == samples
        assert max(sizes) <= 160000


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("start", "end"), [(None, 1.25), (0.7, None), (0.71, 1.9), (0, 99)])
def test_parts_of_a_file(kind, start, end):
    form, subtype, rate, _ = FORMATS[kind]
    data = written(sweep(rate, 2.5), rate, form, subtype)
    whole, part = read(data), read(data, start, end)
    wanted = whole[round((start or 0) * 16000) : None if end is None else round(end * 16000)]
    assert abs(len(part) - len(wanted)) <= 1
    # Where the signal is cut the resampler's filter rings, and the grid of samples is another
    # by a fraction of one of them.
    inner = slice(200, min(len(part), len(wanted)) - 200)
    assert np.abs(part[inner] - wanted[inner]).max() < 0.02


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_blocks_and_parts_of_an_mp3_have_no_hole_at_their_start(rate):
    """A jump inside an MP3 loses what its frames borrow from those before."""
    data = written(sweep(rate, 8), rate, "MP3", "MPEG_LAYER_III")
    at_once, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    whole = read((at_once, rate))
    with mock.patch.object(decode, "BLOCK_SECONDS", 1):
        assert np.abs(read(data) - whole).max() < 1e-6
    for start in range(1, 8):
        part = read(data, start)
        assert np.abs(part[200:] - whole[start * 16000 :][200 : len(part)])[:-200].max() < 1e-3


def test_parts_at_16_khz_are_exact():
    samples = np.arange(50000, dtype=np.float32) / 50000
    for sound in ((samples, 16000), written(samples, 16000, "WAV", "FLOAT")):
        assert np.array_equal(read(sound, 0.5, 1.75), samples[8000:28000])
        assert np.array_equal(read(sound, 3), samples[48000:])
        assert np.array_equal(read(sound, end=float("inf")), samples)
        with mock.patch.object(decode, "BLOCK_SECONDS", 1):
            assert np.array_equal(read(sound, 0.5, 2.75), samples[8000:44000])


def test_every_way_to_hand_over_a_file(tmp_path):
    path = tmp_path / "a b ü.wav"
    path.write_bytes(written(sweep(16000, 1), 16000, "WAV", "PCM_16"))
    wanted = read(path)
    assert len(wanted) == 16000
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        memory = io.BytesIO(path.read_bytes())
        for sound in (str(path), path.read_bytes(), bytearray(path.read_bytes()), file, memory):
            assert np.array_equal(read(sound), wanted)
        for sound in (file, memory, raw):  # again, though it now stands at its end
            assert np.array_equal(read(sound), wanted)
            assert not sound.closed
        assert sound_name(file) == sound_name(path) == str(path)
        assert sound_name(memory) == "(bytes)"


def test_a_pipe_and_a_name_that_is_no_unicode(tmp_path):
    class Pipe(io.RawIOBase):
        """Reads, and cannot seek."""

        def __init__(self, data: bytes) -> None:
            self.rest = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            return self.rest.readinto(buffer)

    data = written(sweep(16000, 1), 16000, "WAV", "PCM_16")
    assert len(read(Pipe(data))) == 16000
    path = Path(str(tmp_path), "\udce9.wav")
    try:
        path.write_bytes(data)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes Unicode names only")
    assert len(read(path)) == 16000
    assert duration_of(path) == 1.0


def test_arrays_of_every_type_equal_the_file():
    ideal = sweep(8000, 1)
    pcm = np.round(ideal * 32768).astype(np.int16)
    wanted = read(written(pcm, 8000, "WAV", "PCM_16"))
    exact = pcm / 32768
    alike = [
        pcm, pcm.astype(np.int32) << 16, exact, exact.astype(np.float32), list(exact),
        pcm[:, None], np.stack([pcm, pcm], 1), np.asfortranarray(np.stack([exact, exact], 1)),
        torch.from_numpy(pcm), torch.from_numpy(exact).requires_grad_(),
    ]  # fmt: skip
    for samples in alike:
        got = read((samples, 8000))
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max() < 1e-6
    for samples, step in (
        (np.round(ideal * 128 + 128).astype(np.uint8), 1 / 128),
        (np.round(ideal * 128).astype(np.int8), 1 / 128),
        (exact.astype(np.float16), 1e-3),
        (torch.from_numpy(exact).bfloat16(), 1e-2),
    ):
        assert np.abs(read((samples, 8000)) - wanted).max() < step
    assert np.array_equal(read((pcm[::-1], 8000)), read((pcm[::-1].copy(), 8000)))
    for rate in (np.int64(8000), 8000.0, torch.tensor(8000)):
        assert np.array_equal(read((pcm, rate)), wanted)
    assert duration_of((pcm, 8000)) == 1.0


def test_reading_leaves_the_callers_array_alone():
    samples = np.ones(16000, np.float32)
    read((samples, 16000))[:] = 5
    assert (samples == 1).all()


def test_silence_is_a_sound():
    assert not read((np.zeros(16000, np.float32), 44100)).any()
