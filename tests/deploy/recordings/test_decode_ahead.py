"""Decoding in threads: order, limits of memory, and faults."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from loudness import RATE
from spectrim.audio.windows import Window, windows
from spectrim.common.errors import SpectrimError
from spectrim.deploy.recordings import decode_ahead
from spectrim.deploy.recordings.decode_ahead import decoded_ahead
from spectrim.deploy.recordings.input_recordings import Recording, recordings_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Long and short recordings in turn, the first the longest."""
    folder = tmp_path_factory.mktemp("turns")
    rng = np.random.default_rng(0)
    for number, seconds in enumerate((20, 1, 12, 0.5, 9, 3, 0.2, 15)):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, round(seconds * RATE)), RATE)
    return recordings_of([folder])


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize("max_windows", [1, 4, 100])
def test_order_and_limit(files, monkeypatch, workers, max_windows):
    """With more threads than recordings, a limit of one window must not lock anybody out."""
    most = 0
    real = decode_ahead._Buffers.put

    def put(buffers, number, item):
        nonlocal most
        result = real(buffers, number, item)
        with buffers.changed:
            most = max(most, buffers.num_windows)
        return result

    monkeypatch.setattr(decode_ahead._Buffers, "put", put)
    items = list(
        decoded_ahead(files, RATE, RATE, "mix", RATE, workers=workers, max_windows=max_windows)
    )
    expected = [
        (number, window)
        for number, recording in enumerate(files)
        for window in [*windows(recording.path, RATE), None]
    ]
    assert [(number, name) for number, name, _ in items] == [
        (number, files[number].path) for number, _ in expected
    ]
    for (_, _, item), (_, window) in zip(items, expected, strict=True):
        assert (item is None) == (window is None)
        if window is not None:
            assert (item.start, item.end) == (window.start, window.end)
            assert np.array_equal(item.samples, window.samples)
    assert most <= 2 * max_windows


def test_a_thread_that_fails_is_no_unreadable_file(files, monkeypatch):
    """Lack of memory ends the job; it is no property of the recording."""

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(decode_ahead, "windows", fail)
    with pytest.raises(MemoryError):
        list(decoded_ahead(files, RATE, RATE, "mix", RATE, workers=2, max_windows=4))


def test_thousands_of_unreadable_recordings_keep_their_order(tmp_path):
    recordings = [
        Recording(str(tmp_path / f"{n}.wav"), problem=f"problem {n}") for n in range(3000)
    ]
    items = list(decoded_ahead(recordings, RATE, RATE, "mix", RATE, workers=4, max_windows=2))
    assert [str(item) for _, _, item in items] == [f"problem {n}" for n in range(3000)]
    assert all(isinstance(item, SpectrimError) for _, _, item in items)


def test_a_reader_that_stops_early_ends_the_threads(files):
    stream = decoded_ahead(files, RATE, RATE, "mix", RATE, workers=4, max_windows=2)
    assert isinstance(next(stream)[2], Window)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
