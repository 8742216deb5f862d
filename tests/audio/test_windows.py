"""Windows over a stream against an obvious cut of the whole signal."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrim.audio import decode
from spectrim.audio.decode import read
from spectrim.audio.windows import windows
from spectrim.common.errors import SpectrimError

RATE = 16000
SHIFT = 160


def ramp(samples: int) -> np.ndarray:
    """No two samples alike, so that a window shows where it was cut."""
    return np.arange(1, samples + 1, dtype=np.float32)


def spans(total: int, size: int, hop: int) -> list[tuple[int, int]]:
    """Where the windows lie, from the whole length."""
    starts = [0]
    while starts[-1] + size + SHIFT <= total:  # one more frame of 10 ms
        starts.append(starts[-1] + hop)
    cut = [(start, start + size) for start in starts]
    cut[-1] = starts[-1], total
    start, end = cut[-1]
    if len(cut) > 1 and end - start < size / 2:
        cut[-1] = (total - size, total)
    return cut


def assert_windows(sound, signal: np.ndarray, size: int, hop: int | None) -> None:
    wanted = spans(len(signal), size, hop or size)
    got = list(windows(sound, size, hop))
    assert [(w.start, w.end) for w in got] == [(a / RATE, b / RATE) for a, b in wanted]
    for window, (start, end) in zip(got, wanted, strict=True):
        assert window.samples.dtype == np.float32
        assert np.array_equal(window.samples, signal[start:end])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), total=st.integers(400, 90_000), size=st.integers(400, 40_000))
def test_windows_equal_the_obvious_cut(data, total, size):
    hop = data.draw(st.none() | st.integers(max(1, size // 8), size), label="hop")
    signal = ramp(total)
    with mock.patch.object(decode, "BLOCK_SECONDS", 1):  # windows across blocks and within
        assert_windows((signal, RATE), signal, size, hop)


@settings(max_examples=100, deadline=None)
@given(total=st.integers(400, 60_000), size=st.integers(400, 30_000))
def test_without_a_hop_every_sample_is_covered_and_only_the_tail_twice(total, size):
    counts = np.zeros(total, int)
    with mock.patch.object(decode, "BLOCK_SECONDS", 1):
        got = list(windows((ramp(total), RATE), size))
    for window in got:
        assert size / 2 <= len(window.samples) < size + SHIFT or len(got) == 1
        counts[round(window.start * RATE) : round(window.end * RATE)] += 1
    assert counts.min() == 1
    tail = total % size
    moved = total > size and SHIFT <= tail < size / 2
    assert (counts == 2).sum() == (size - tail if moved else 0)
    assert counts.max() <= 2


@pytest.mark.parametrize("around", [-1, 0, 1])
@pytest.mark.parametrize("base", [400, 8000, 16000, 24000, 32000, 40000])
@pytest.mark.parametrize("hop", [None, 16000, 8000, 5000])
def test_lengths_right_at_the_edges(base, around, hop):
    if base + around >= 400:
        with mock.patch.object(decode, "BLOCK_SECONDS", 1):
            signal = ramp(base + around)
            assert_windows((signal, RATE), signal, 16000, hop)


def test_the_tail_rule_in_numbers():
    def cut(total: int) -> list[tuple[float, float]]:
        return [(w.start, w.end) for w in windows((ramp(total), RATE), 2 * RATE)]

    assert cut(5 * RATE) == [(0, 2), (2, 4), (4, 5)]  # half a window: a shorter last one
    assert cut(5 * RATE - 8000) == [(0, 2), (2, 4), (2.5, 4.5)]  # less: the last moves back
    assert cut(4 * RATE) == [(0, 2), (2, 4)]
    assert cut(RATE // 2) == [(0, 0.5)]


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_windows_of_a_file_at_another_rate(tmp_path, rate):
    path = tmp_path / "noise.flac"
    samples = np.random.default_rng(0).normal(0, 0.1, 23 * rate + 77)
    soundfile.write(path, samples, rate)
    assert_windows(path, read(path), 81760, None)
    assert_windows(path, read(path), 81760, 30000)


def test_a_window_keeps_nothing_of_its_neighbours():
    first, second, *_ = windows((np.zeros(3 * RATE, np.float32), RATE), RATE)
    first.samples[:] = 1
    assert not second.samples.any()
    assert first.samples.base is None, "a view keeps a whole block alive"


def test_an_hour_is_never_held_whole(tmp_path):
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_U8") as file:
        for _ in range(60):
            file.write(np.zeros(60 * 8000, np.int16))
    size = 10 * RATE
    list(windows((np.zeros(8000), 8000), 4000))  # what is loaded once is no matter
    tracemalloc.start()
    count = sum(1 for _ in windows(path, size))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 360
    assert peak < 8 * size * 4, f"{peak / 1e6:.1f} MB; the hour takes 230 MB"


@pytest.mark.parametrize("hop", [0, -1, 16001])
def test_hops_that_would_skip_or_stand_still(hop):
    with pytest.raises(SpectrimError, match=r"a hop of .* at most the window of 1 s"):
        list(windows((ramp(40000), RATE), RATE, hop))


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_too_short(tmp_path, samples):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(samples), RATE)
    with pytest.raises(SpectrimError, match=r"short\.wav: .*at least 25 ms"):
        list(windows(path, RATE))


def test_a_fault_in_the_middle_comes_after_the_windows_before_it():
    samples = np.append(np.zeros(25 * RATE), np.nan)
    stream = windows((samples, RATE), 5 * RATE)
    assert next(stream).end == 5
    with pytest.raises(SpectrimError, match=r"at 25\.000 s"):
        list(stream)
