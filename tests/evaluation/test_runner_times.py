"""Columns of measured time, with a clock that only planted runners move."""

from __future__ import annotations

import numpy as np
import pytest

from spectrim.deploy.runner import Runner
from spectrim.evaluation import timing
from spectrim.evaluation.runner_times import times_of_runners


class Planted(Runner):
    """A runner that takes `seconds` for each clip."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds
        self.macs = round(seconds * 1e9)
        self.batches = []

    def probabilities(self, waveforms):
        self.batches.append(len(waveforms))
        self.clock[0] += self.seconds * len(waveforms)
        return np.zeros((len(waveforms), 2), np.float32)

    def context(self, name, batch_size):
        return {}


@pytest.fixture
def clock(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    return clock


CLIPS = [np.zeros(400, np.float32)] * 16


def times(clock, seconds, budget, rounds=20):
    runners = [Planted(clock, value) for value in seconds]
    return runners, times_of_runners(runners, CLIPS, rounds, budget, lambda: None)


def test_milliseconds_and_speed_ups_are_of_a_clip(clock):
    _, (base, fast) = times(clock, [0.01, 0.004], 1e6)
    assert base["ms_per_clip"] == pytest.approx(10) and base["speedup"] == 1
    assert fast["ms_per_clip"] == pytest.approx(4) and fast["speedup"] == pytest.approx(2.5)
    assert fast["timing_rounds"] == 20 and fast["timing_batch_size"] == 16


def test_slow_models_are_timed_on_fewer_clips_at_once(clock):
    """AST-base on a busy machine, 1.5 s a clip: 13 rows with 16 clips would take half an hour."""
    seconds = [1.5, *np.linspace(1.4, 0.7, 12)]
    runners, columns = times(clock, seconds, 240.0)
    assert clock[0] <= 1.2 * 240
    assert all(column["speedup"] is not None for column in columns)
    size = columns[0]["timing_batch_size"]
    assert 1 <= size < 16 and set(runners[1].batches) == {size}
    for column, value in zip(columns, seconds, strict=True):
        assert column["ms_per_clip"] == pytest.approx(1000 * value)


def test_what_does_not_fit_has_no_times(clock):
    _, columns = times(clock, [1.5, *np.linspace(1.4, 0.7, 12)], 30.0)
    assert clock[0] <= 1.2 * 30
    left_out = [column for column in columns if column["speedup"] is None]
    assert 0 < len(left_out) < 12 and columns[1]["speedup"] == pytest.approx(1.5 / 1.4)
    assert all(column["timing_rounds"] == 0 for column in left_out)
