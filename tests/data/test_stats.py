"""Figures of a list of clips, against a slow computation and planted answers."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import soundfile

from data import trees
from data.slow_stats import mean_and_std
from spectrim.audio.filterbank import FilterBank
from spectrim.common.errors import SpectrimError
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data
from spectrim.data.stats import PIECE, measure_clips


@pytest.fixture
def noises(tmp_path):
    """Clips of many lengths and levels; one far longer than a piece."""
    rng = np.random.default_rng(0)
    lengths = (400, 559, 560, 8000, 16_001, 40_000, PIECE * 160 * 2 + 720, PIECE * 160 + 240)
    for number, samples in enumerate(lengths):
        level = 10.0 ** -(number % 4)
        noise = rng.normal(0.02, level / 5, samples).clip(-1, 1)  # not centred on zero
        soundfile.write(tmp_path / f"{number}.wav", noise, 16_000, "FLOAT")
    return read_data(tmp_path).clips, [samples / 16_000 for samples in lengths]


@pytest.mark.parametrize("workers", [1, 3])
def test_against_the_slow_way(noises, workers):
    clips, lengths = noises
    done = []
    stats = measure_clips(clips, workers=workers, tick=done.append)
    mean, std = mean_and_std(clips)
    assert (stats.mean, stats.std) == pytest.approx((mean, std), rel=1e-6)
    assert sum(done) == stats.clips == len(clips)
    assert stats.seconds == pytest.approx(sum(lengths))
    assert (stats.shortest, stats.longest) == (min(lengths), max(lengths))
    assert stats.median == pytest.approx(np.median(lengths))
    assert stats.p95 == pytest.approx(np.percentile(lengths, 95))


def test_only_so_much_of_each_clip(noises):
    clips, _ = noises
    stats = measure_clips(clips, seconds=0.5)
    assert (stats.mean, stats.std) == pytest.approx(mean_and_std(clips, 0.5), rel=1e-6)
    assert stats.longest == 0.5


def test_a_long_recording_is_never_held_whole(tmp_path):
    samples = 300 * 16_000
    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, 16_000)
    tracemalloc.start()
    stats = measure_clips([Clip(tmp_path / "long.wav")])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stats.longest == 300
    assert peak < samples * 4 / 4, "a quarter of its samples in float32"


def test_real_clips(clips):
    listed = [Clip(path, (name,)) for name, path in clips.items()]
    stats = measure_clips(listed)
    assert (stats.mean, stats.std) == pytest.approx(mean_and_std(listed), rel=1e-6)


def test_silence_is_the_floor(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 16_000)
    stats = measure_clips([Clip(tmp_path / "a.wav")])
    assert (stats.mean, stats.std) == pytest.approx((math.log(2**-23), 0.0), abs=1e-5)


def test_a_planted_answer(tmp_path):
    """Ten times as loud is log(100) more in every value; of the two, half of it on each side."""
    noise = np.random.default_rng(0).normal(0, 100, 16_000)  # far above the floor
    for name, gain in (("b", 1), ("c", 10)):
        soundfile.write(tmp_path / f"{name}.wav", noise * gain, 16_000, "FLOAT")
    quiet, loud, both = (
        measure_clips([Clip(tmp_path / f"{name}.wav") for name in names])
        for names in ("b", "c", "bc")
    )
    heard = FilterBank().mel.sum(0) > 0  # the lowest filters hold no frequency, hence the floor
    more = math.log(100) * heard.float().mean().item()
    assert loud.mean - quiet.mean == pytest.approx(more, abs=1e-5)
    assert both.mean == pytest.approx((quiet.mean + loud.mean) / 2)
    assert both.std**2 == pytest.approx(
        (quiet.std**2 + loud.std**2) / 2 + (more / 2) ** 2, rel=1e-5
    )


def test_counts(tmp_path):
    for name in "abc":
        trees.sound(tmp_path / f"{name}.wav")
    clips = [
        Clip(tmp_path / "b.wav", ("Rain", "Dog"), "train", "2"),
        Clip(tmp_path / "a.wav", ("Dog",), "test", "1"),
        Clip(tmp_path / "c.wav", (), "train"),
    ]
    stats = measure_clips(clips)
    assert list(stats.classes.items()) == [("Dog", 2), ("Rain", 1)]
    assert list(stats.splits.items()) == [("test", 1), ("train", 2)]
    assert list(stats.folds.items()) == [("1", 1), ("2", 1)]


def test_what_cannot_be_read_is_named_and_not_counted(tmp_path):
    trees.sound(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    clips = [Clip(tmp_path / f"{name}.wav", (name,)) for name in "abc"]
    stats = measure_clips(clips)
    assert stats.clips == 1 and stats.classes == {"a": 1}
    assert [(at, "b.wav" in said or "c.wav" in said) for at, said in stats.failures] == [
        (1, True),
        (2, True),
    ]
    with pytest.raises(SpectrimError, match=r"none of 2 clips could be read: .*b.wav"):
        measure_clips(clips[1:])
    with pytest.raises(SpectrimError, match="none of 0 clips"):
        measure_clips([])
