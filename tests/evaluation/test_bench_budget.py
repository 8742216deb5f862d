"""The budget of a benchmark: a planted clock moves with exports, loading, timings and memory."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.common.interruption import OutOfTime
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation import compilation
from spectrim.evaluation.bench import bench as bench_module
from spectrim.evaluation.bench import candidates, exports, machine, memory, timed_rows
from spectrim.evaluation.bench.bench import bench, num_timings

SIZES = [1, 2]
QUICK = {"keep_rates": [0.5], "blocks": [0], "batch_sizes": SIZES, "matmul_size": 64, "threads": 1}


class Clock:
    """Seconds that only planted work moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = float("inf")  # of the work in `time_limit`
        self.exported: list[str] = []
        self.cache: dict[str, str] = {}

    def work(self, seconds: float) -> None:
        if self.now + seconds > self.limit:
            self.now = max(self.now, self.limit)
            raise OutOfTime
        self.now += seconds

    @contextmanager
    def time_limit(self, seconds: float):
        self.limit = self.now + seconds
        try:
            yield
        finally:
            self.limit = float("inf")


class Runner:
    """Of an exported file: unpruned, it takes 0.2 s a clip."""

    is_compiled = False

    def __init__(self, clock: Clock, path) -> None:
        self.clock, self.seconds = clock, 0.2 if path.name.startswith("1.0") else 0.1

    def probabilities(self, waveforms):
        self.clock.work(self.seconds * len(waveforms))


@pytest.fixture
def clock(monkeypatch):
    """Exports take 30 s, loading 2 s, a clip 0.2 s, a process for memory 6 s."""
    clock = Clock()

    def export(model, file, quantize, calibration):
        clock.exported.append(file.name)
        clock.work(30.0)

    def load_onnx(path, backend, threads):
        clock.work(2.0)
        return Runner(clock, path)

    def peak_memory(*task):
        clock.work(min(6.0, max(task[-1], 0.0)))
        return 100.0 if task[-1] >= 6 else None

    def copy_cached(key, file):
        return key in clock.cache

    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(exports, "time_limit", clock.time_limit)
    monkeypatch.setattr(exports, "export", export)
    monkeypatch.setattr(exports, "copy_cached", copy_cached)
    monkeypatch.setattr(exports, "keep_in_cache", lambda key, file: clock.cache.update({key: 1}))
    monkeypatch.setattr(candidates, "load_onnx", load_onnx)
    monkeypatch.setattr(timed_rows, "peak_memory", peak_memory)
    monkeypatch.setattr(
        candidates.Candidate,
        "call",
        lambda candidate, waveforms: lambda: clock.work(0.2 * len(waveforms)),
    )
    monkeypatch.setattr(timed_rows, "matrix_product", lambda *given: lambda: clock.work(1.0))
    monkeypatch.setattr(bench_module, "stages", lambda *given: clock.work(given[-1]) or [])
    monkeypatch.setattr(bench_module, "_installed", lambda: list(bench_module.BACKENDS))
    return clock


@pytest.mark.parametrize("budget", [10.0, 20.0, 40.0, 120.0])
@pytest.mark.parametrize("backends", [["torch"], ["torch", "onnxruntime"], ["onnxruntime"], None])
@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_budget_holds_within_a_fifth_exports_included(make, clock, budget, backends):
    model = make("ast", depth=2)
    allowed = budget * num_timings(model, backends, ["none"], SIZES, None, None, True)
    try:
        bench(model, "test", backends=backends, budget=budget, rounds=1000, **QUICK)
    except SpectrimError as error:
        assert "too short" in str(error)
    assert clock.now <= 1.2 * allowed


def test_torch_answers_first_and_exports_that_do_not_fit_are_named(make, clock):
    """Four timings of 20 s have exported files; half of them, 40 s, hold one export of 30 s."""
    steps: list[str] = []
    model = make("ast", depth=2)
    with pytest.warns(SpectrimNotice, match=r"of keep rate 0.5 are not .* 40 s.*again"):
        result = bench(model, "test", budget=20.0, rounds=10, steps=steps.append, **QUICK)
    assert steps[0] == "torch none, batch 1"
    assert [(r["backend"], r["keep_rate"]) for r in result["rows"] if r["batch_size"] == 1] == [
        ("torch", 1.0), ("torch", 0.5), ("onnxruntime", 1.0), ("openvino", 1.0),
    ]  # fmt: skip
    assert clock.exported == ["1.0-none.onnx"]  # the second was not even begun
    # Run again, the first export comes from the cache, and there is time for the second.
    result = bench(model, "test", budget=20.0, rounds=10, **QUICK)
    assert clock.exported == ["1.0-none.onnx", "0.5-none.onnx"]
    assert len(result["rows"]) == 3 * 2 * len(SIZES)  # backends, keep rates, batch sizes


def test_an_export_that_takes_too_long_is_ended(make, clock):
    with pytest.warns(SpectrimNotice, match=r"of keep rate 1.0, 0.5 are not .*--budget\.$"):
        result = bench(make("ast", depth=2), "test", budget=10.0, rounds=10, **QUICK)
    assert clock.exported == ["1.0-none.onnx"]
    assert {row["backend"] for row in result["rows"]} == {"torch"}
    with pytest.raises(SpectrimError, match="too short to time anything"), pytest.warns():
        bench(make("ast", depth=2), "test", backends=["openvino"], budget=0.0, **QUICK)


def test_an_export_that_fails_late_loses_no_row(make, clock, monkeypatch):
    def fail(*given, **options):
        raise SpectrimError("no ONNX function for aten.searchsorted.")

    monkeypatch.setattr(exports, "export", fail)
    result = bench(make("ast", depth=2), "test", budget=20.0, rounds=2, **QUICK)
    assert {row["backend"] for row in result["rows"]} == {"torch"}
    assert result["failures"] == [
        {"quantization": "none", "error": "no ONNX function for aten.searchsorted."}
    ]
    with pytest.raises(SpectrimError, match="searchsorted"):
        bench(make("ast", depth=2), "test", backends=["onnxruntime"], budget=20.0, **QUICK)


def test_memory_of_the_first_rows_fits(make, clock):
    """Of four rows, three processes of 6 s fit into 20 s; the last one is ended."""
    result = bench(make("ast", depth=2), "test", backends=["torch"], budget=20.0, rounds=2, **QUICK)
    assert [row["peak_mb"] for row in result["rows"]] == [100, 100, 100, None]


@pytest.mark.parametrize("budget", [10.0, 40.0, 120.0])
@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_budget_holds_with_compilation(make, clock, compiler, budget):
    model = make("ast", depth=2)
    try:
        bench(model, "test", backends=["torch"], budget=budget, rounds=1000, compile=True, **QUICK)
    except SpectrimError as error:
        assert "too short" in str(error)
    assert clock.now <= 1.2 * budget * num_timings(model, ["torch"], ["none"], SIZES, None)


def test_compilations_that_do_not_fit_are_named_and_the_other_rows_stay(make, clock, compiler):
    """Of 40 s, half hold one compilation of 15 s; the next batch size needs no other one."""
    text = r"torch, batch size 1: keep rate 0.5: not timed, because compilation .* 20 s"
    with pytest.warns(SpectrimNotice, match=text):
        result = bench(
            make("ast", depth=2), "test", backends=["torch"], budget=40.0, rounds=2, compile=True,
            **QUICK,
        )  # fmt: skip
    rows = {(row["batch_size"], row["keep_rate"]): row for row in result["rows"]}
    assert (1, 1.0) in rows and (1, 0.5) not in rows
    assert all(row["compile_s"] == 15.0 for row in rows.values())


def test_no_row_without_the_unpruned_model(make, clock, compiler):
    with (
        pytest.warns(SpectrimNotice, match="keep rate 1.0, 0.5: not timed, because compilation"),
        pytest.raises(SpectrimError, match="too short to time anything"),
    ):
        bench(make("ast", depth=2), "test", backends=["torch"], budget=20.0, compile=True, **QUICK)
    assert compiler == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_compilation_that_is_ended_does_no_harm(make):
    """On the real clock: PyTorch's compiler, ended after a moment, works in the next benchmark."""
    call = {"backends": ["torch"], "rounds": 1, "compile": True, "memory": False} | QUICK
    with pytest.raises(SpectrimError, match="too short to time anything"):
        bench(make("ast", depth=1), "test", budget=0.5, **call)
    rows = bench(make("ast", depth=1), "test", budget=1000.0, **call)["rows"]
    assert len(rows) == 4 and all(row["compile_s"] > 0 for row in rows)


@pytest.fixture
def compiler(clock, monkeypatch):
    """Names of finished compilations, each of 15 s."""
    finished = []

    def compile_for(runner, waveforms):
        clock.work(15.0)
        finished.append(len(waveforms))
        return 15.0

    monkeypatch.setattr(TorchRunner, "compile_for", compile_for)
    monkeypatch.setattr(compilation, "time_limit", clock.time_limit)
    return finished


def test_stages_share_one_budget(make, monkeypatch):
    given = []

    def within(calls, rounds, budget, device):
        given.append(budget)
        return [None]

    monkeypatch.setattr(machine, "interleaved_within", within)
    with pytest.raises(ValueError, match="unpack"):
        machine.stages(make("ast", depth=1), _Window(), 1, 1, 40.0)
    assert given == [10.0] * 4


class _Window:
    window, sample_rate, clips_at_once = 16_000, 16_000, None


def test_a_process_past_its_time_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_peak", sleep)
    began = time.monotonic()
    assert memory.peak_memory(tmp_path, "torch", 16_000, 1, 1, seconds=0.01) is None
    assert memory.peak_memory(tmp_path, "torch", 16_000, 1, 1, seconds=0.0) is None
    assert time.monotonic() - began < 1000


def sleep(*task) -> float:
    time.sleep(1e6)
    return 0.0
