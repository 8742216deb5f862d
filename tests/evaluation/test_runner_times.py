"""Columns of measured time, with a clock that only planted runners move."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from spectrim.common.errors import SpectrimNotice
from spectrim.common.interruption import OutOfTime
from spectrim.deploy.runner import Runner
from spectrim.evaluation import compilation, timing
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


class PlantedCompiled(Planted):
    """A compilation takes 12 s, and only so long as its limit allows."""

    is_compiled = True
    limit = float("inf")

    def compile_timed(self, inputs):
        if self.clock[0] + 12 > PlantedCompiled.limit:
            self.clock[0] = PlantedCompiled.limit
            raise OutOfTime
        self.clock[0] += 12
        return 12.0


@pytest.fixture
def time_limit(clock, monkeypatch):
    @contextmanager
    def limit(seconds):
        monkeypatch.setattr(PlantedCompiled, "limit", clock[0] + seconds)
        yield

    monkeypatch.setattr(compilation, "time_limit", limit)


@pytest.mark.parametrize("budget", [5.0, 20.0, 60.0, 600.0])
@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_budget_holds_with_compilation(clock, time_limit, budget):
    runners = [PlantedCompiled(clock, value) for value in np.linspace(0.2, 0.1, 19)]
    columns = times_of_runners(runners, CLIPS, 1000, budget, lambda: None)
    assert clock[0] <= 1.2 * budget
    for column in columns:
        assert (column["compile_s"] == 12) == (column["ms_per_clip"] is not None)


def test_compilations_that_do_not_fit_are_counted(clock, time_limit):
    """Half of 60 s holds two compilations of 12 s; a third one would have only 6 s."""
    runners = [PlantedCompiled(clock, value) for value in (0.2, 0.1, 0.1, 0.1)]
    with pytest.warns(SpectrimNotice, match=r"^2 of 4 rows are not timed.* 30 s.*--budget"):
        columns = times_of_runners(runners, CLIPS, 3, 60.0, lambda: None)
    assert [column["timing_rounds"] for column in columns] == [3, 3, 0, 0]
    assert [column["compile_s"] for column in columns] == [12, 12, 0, 0]
