"""Several channels to one: the mean, one of them, or the loudest; and a note on what is lost."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from test_decode import sweep, written

from spectrim.audio.decode import blocks, read
from spectrim.common.errors import SpectrimError, SpectrimNotice

RATE = 16_000


def notes_of(call):
    """The result of a call, and the notices that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if w.category is SpectrimNotice]


def planted(*levels: float, seconds: float = 2) -> np.ndarray:
    """(samples, channels): a sweep in every channel, at these levels."""
    return np.stack([sweep(RATE, seconds) * level for level in levels], 1).astype(np.float32)


@pytest.mark.parametrize(
    ("levels", "lost", "index"),
    [
        ((0, 0, 0, 1, 0, 0, 0, 0), True, 3),  # one live channel of eight
        ((1, -1), True, 0),  # in anti-phase
        ((0, 1), True, 1),  # one of two keeps a quarter
        ((1, 1), False, 0),
        ((1, 0.5), False, 0),
        ((0, 0), False, 0),
        ((1,), False, 0),
    ],
)
def test_a_mean_that_loses_most_of_the_energy_is_reported(tmp_path, levels, lost, index):
    samples = planted(*levels)
    path = tmp_path / "many.wav"
    path.write_bytes(written(samples, RATE, "WAV", "FLOAT"))
    for sound in (path, (samples, RATE)):
        mixed, notes = notes_of(lambda sound=sound: read(sound))
        assert np.allclose(mixed, samples.mean(1), atol=1e-6)
        assert len(notes) == lost
        if lost:
            assert f"the energy of channel {index}." in notes[0] and "--channel" in notes[0]
        loudest, notes = notes_of(lambda sound=sound: read(sound, channel="loudest"))
        assert np.array_equal(loudest, samples[:, index]) and not notes
        for number in range(len(levels)):
            one, notes = notes_of(lambda sound=sound, n=number: read(sound, channel=n))
            assert np.array_equal(one, samples[:, number]) and not notes


def test_two_independent_channels_are_not_reported():
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    assert not notes_of(lambda: read((noise, RATE)))[1]


def test_the_note_comes_also_if_the_reader_stops_early():
    def first_block():
        reader = blocks((planted(1, -1, seconds=25), RATE))
        next(reader)
        reader.close()

    assert len(notes_of(first_block)[1]) == 1


def test_the_loudest_is_that_of_the_whole_file(tmp_path):
    """Channel 0 leads in the first second, channel 1 over the file."""
    samples = planted(0.2, 0.1, seconds=3)
    samples[RATE:, 1] *= 6
    path = tmp_path / "changing.wav"
    path.write_bytes(written(samples, RATE, "WAV", "FLOAT"))
    for sound in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert np.array_equal(read(sound, 0, 1, channel="loudest"), samples[:RATE, 1])
    path.write_bytes(written(samples[:, ::-1].copy(), RATE, "WAV", "FLOAT"))
    assert np.array_equal(read(path, channel="loudest"), samples[:, 1]), "the file has changed"


def test_the_loudest_channel_of_a_pipe_is_refused():
    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

    with pytest.raises(SpectrimError, match="read twice"):
        read(Pipe(), channel="loudest")


def test_wrong_channels():
    for channel in (-1, "left", None, 1.0, True, "1.5", ""):
        with pytest.raises(SpectrimError, match="expected 'mix', 'loudest' or a number from 0"):
            read((planted(1, 1), RATE), channel=channel)
    with pytest.raises(SpectrimError, match=r"no channel 2; it has 2, which count from 0"):
        read((planted(1, 1), RATE), channel=2)
    assert np.array_equal(read((planted(1, 2), RATE), channel="1"), planted(1, 2)[:, 1])


@pytest.mark.parametrize(("scale", "is_noted"), [(1, False), (99, False), (14_450, True)])
def test_floats_at_integer_scale_are_reported(scale, is_noted):
    samples = np.clip(sweep(RATE, 1) / 0.5, -1, 1) * scale
    for sound in ((samples, RATE), written(samples, RATE, "WAV", "FLOAT")):
        _, notes = notes_of(lambda sound=sound: read(sound))
        assert [("expected -1 to 1" in note) for note in notes] == [True] * is_noted
    pcm = (samples / scale * 32767).astype(np.int16)
    assert not notes_of(lambda: read((pcm, RATE)))[1]
