"""`--engine ray`: the rows of the default engine, on a local cluster and on a stand-in for Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import types
from functools import partial
from pathlib import Path

import pytest

from loudness import Loudness, run_job, write_recordings
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.deploy.recordings.table_layouts import EmbeddingTable, EventTable, TagTable, WideTable
from written_tables import expected_rows, read_table

pyarrow = pytest.importorskip("pyarrow", reason="Ray Data needs it: pip install pyarrow")


MODULES = ("spectrim.integrations.ray", "spectrim.integrations.ray_cluster")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("ray") / "recordings")


class FakeDataset:
    """Runs `map_batches` in this process, block by block, as Ray Data orders blocks."""

    def __init__(self, blocks):
        self.blocks = blocks

    def map_batches(self, worker, *, fn_constructor_kwargs, **options):
        self.make_worker, self.options = partial(worker, **fn_constructor_kwargs), options
        return self

    def iter_batches(self, **options):
        yield from map(self.make_worker(), self.blocks)


class FakeActor:
    """An object whose methods are called as `actor.method.remote()`."""

    def __init__(self, instance):
        self.instance = instance

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=getattr(self.instance, name))


@pytest.fixture
def engine(monkeypatch):
    """The engine on a stand-in for Ray with two nodes of four CPUs; `engine.datasets` are made."""
    ray, data = types.ModuleType("ray"), types.ModuleType("ray.data")
    ray.exceptions = types.SimpleNamespace(RayError=type("RayError", (Exception,), {}))
    ray.data = data
    ray.remote = lambda kind: types.SimpleNamespace(
        options=lambda num_cpus: types.SimpleNamespace(remote=lambda: FakeActor(kind()))
    )
    ray.is_initialized = lambda: True
    ray.put = ray.get = lambda value: value
    ray.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}] * 2
    settings = types.SimpleNamespace(execution_options=types.SimpleNamespace())
    data.DataContext = types.SimpleNamespace(get_current=lambda: settings)
    data.ActorPoolStrategy = dict
    datasets = []

    def from_arrow(blocks):
        datasets.append(FakeDataset(blocks))
        return datasets[-1]

    data.from_arrow = from_arrow
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import spectrim.integrations.ray as module

    yield types.SimpleNamespace(rows=module.rows_with_ray, module=module, datasets=datasets)
    for name in MODULES:
        sys.modules.pop(name, None)


def tables(runner):
    return {
        "tag.csv": TagTable(runner, None, "mix"),
        "tag.jsonl": TagTable(runner, "mean", 0, 1, 0.2),
        "wide.csv": WideTable(runner, None, "mix"),
        "wide.parquet": WideTable(runner, "maximum", "mix"),
        "embed.csv": EmbeddingTable(runner, None, "mix"),
        "embed.parquet": EmbeddingTable(runner, None, "mix"),
        "events.jsonl": EventTable(runner, "loudest"),
    }


@pytest.mark.parametrize("name", list(tables(Loudness())))
def test_every_table_equals_that_of_the_default_engine(folder, tmp_path, engine, name, monkeypatch):
    """Bytes, so neither the order nor the digits of a number may differ."""
    monkeypatch.setattr(engine.module, "MAX_RECORDINGS", 3)
    for place in ("local", "ray"):
        (tmp_path / place).mkdir()
    run_job(folder, tmp_path / "local" / name, table=tables(Loudness())[name])
    summary = run_job(
        folder, tmp_path / "ray" / name, table=tables(Loudness())[name], engine=engine.rows
    )
    ours, expected = (tmp_path / place / name for place in ("ray", "local"))
    if name.endswith("parquet"):
        assert repr(read_table(ours)) == repr(read_table(expected)), "NaN differs from itself"
    else:
        assert ours.read_bytes() == expected.read_bytes()
    (dataset,) = engine.datasets
    assert [block.num_rows for block in dataset.blocks] == [3, 3, 3, 2]
    assert dataset.options["compute"] == {"min_size": 1, "max_size": 8}
    assert len(summary.failures) in (3, 4) and summary.num_recordings == 11


def test_tasks_hold_few_bytes(folder, engine, monkeypatch):
    from spectrim.deploy.recordings.input_recordings import recordings_of

    recordings = recordings_of([folder])
    monkeypatch.setattr(engine.module, "MAX_BYTES", 300_000)
    tasks = engine.module._tasks(recordings)
    numbers = [task.column("#number").to_pylist() for task in tasks]
    assert [number for task in numbers for number in task] == list(range(11)), (
        "each recording once, in order"
    )
    assert max(map(len, numbers)) > 1
    for task in numbers:
        size = sum(recordings[number].weight for number in task)
        assert size <= 300_000 or len(task) == 1


def test_a_ray_job_goes_on_with_the_default_engine(folder, tmp_path, engine):
    out = tmp_path / "tags.csv"
    run_job(folder, out, inputs=[folder / "x.wav", folder / "e.wav"], engine=engine.rows)
    assert run_job(folder, out, inputs=[folder]).num_resumed == 2
    assert run_job(folder, out, inputs=[folder], engine=engine.rows).num_resumed == 11
    assert len(engine.datasets) == 1, "a finished job starts no cluster"


def test_notices_of_workers_reach_the_user(tmp_path, engine):
    import numpy as np
    import soundfile

    path = tmp_path / "integers.wav"
    soundfile.write(path, np.full(16_000, 500.0), 16_000, subtype="FLOAT")
    with pytest.warns(SpectrimNotice, match=r"integers\.wav: float samples of up to 500"):
        run_job(tmp_path, tmp_path / "tags.csv", inputs=[path], engine=engine.rows)


def test_an_error_of_ray_is_a_sentence_and_keeps_rows(folder, tmp_path, engine, monkeypatch):
    real = FakeDataset.iter_batches

    def dies(self, **options):
        batches = real(self, **options)
        yield next(batches)
        raise sys.modules["ray"].exceptions.RayError("Traceback:\n  line 1\nOSError: no port.\n")

    monkeypatch.setattr(engine.module, "MAX_RECORDINGS", 3)
    monkeypatch.setattr(FakeDataset, "iter_batches", dies)
    out = tmp_path / "tags.csv"
    with pytest.raises(
        SpectrimError, match=r"a Ray worker failed \(OSError: no port\)\. The rows of fini"
    ):
        run_job(folder, out, engine=engine.rows)
    monkeypatch.setattr(FakeDataset, "iter_batches", real)
    assert run_job(folder, out, engine=engine.rows).num_resumed == 3
    assert read_table(out) == expected_rows(folder=folder)


class Killed(Exception):
    pass


def test_a_worker_that_dies_again_and_again_is_given_up(folder, tmp_path, engine, monkeypatch):
    """As Ray Data does it: the same block, on a worker that is created again."""
    paths = [folder / "a.wav", folder / "x.wav"]
    attempts = []

    def repeats(self, **options):
        for block in self.blocks:
            while True:
                try:
                    attempts.append(block.num_rows)
                    yield self.make_worker()(block)
                    break
                except Killed:
                    continue

    class Dies(Loudness):
        def probabilities(self, waveforms):
            raise Killed

    monkeypatch.setattr(FakeDataset, "iter_batches", repeats)
    with pytest.raises(
        SpectrimError, match=r"worker that computed .*a\.wav and the next 1 died 3 times"
    ):
        run_job(folder, tmp_path / "tags.csv", inputs=paths, runner=Dies(), engine=engine.rows)
    assert len(attempts) == 4

    def no_memory(table):
        raise Killed

    def starts(self, **options):
        while True:
            with contextlib.suppress(Killed):
                yield self.make_worker()(self.blocks[0])

    monkeypatch.setattr(sys.modules["ray"], "get", lambda x: no_memory(x) if x is not None and
                        not isinstance(x, int) else x)  # fmt: skip
    monkeypatch.setattr(FakeDataset, "iter_batches", starts)
    with pytest.raises(SpectrimError, match="workers died while they loaded the model"):
        run_job(folder, tmp_path / "other.csv", inputs=paths, engine=engine.rows)


def test_models_that_cannot_run_there(folder, tmp_path, engine):
    for attributes, words in (
        ({"is_compiled": True}, "Leave out --compile"),
        ({"device": types.SimpleNamespace(type="mps")}, "not on mps"),
        ({"device": types.SimpleNamespace(type="cuda")}, "the Ray cluster has none"),
    ):
        runner = Loudness()
        vars(runner).update(attributes)
        with pytest.raises(SpectrimError, match=words):
            run_job(folder, tmp_path / "tags.csv", runner=runner, engine=engine.rows)


def test_a_cluster_that_does_not_answer(folder, tmp_path, engine, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False)
        for text in (address, f"ray://{address}"):
            monkeypatch.setenv("RAY_ADDRESS", text)
            with pytest.raises(SpectrimError, match=f"RAY_ADDRESS {text}: no cluster answers"):
                run_job(folder, tmp_path / "tags.csv", engine=engine.rows)


def test_a_cluster_that_does_not_start(folder, tmp_path, engine, monkeypatch):
    def init(**options):
        raise Exception("The current node timed out during startup.\nMore.")  # as Ray 2.60 does

    ray = sys.modules["ray"]
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init, raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SpectrimError, match=r"cannot start .*\(The current .* startup\)\. Check"):
        run_job(folder, tmp_path / "tags.csv", engine=engine.rows)


def test_without_ray_the_way_out_is_named(folder, tmp_path, monkeypatch):
    from calls import call_spectrim

    monkeypatch.setitem(sys.modules, "ray", None)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    done = call_spectrim(("tag", folder, "--engine", "ray", "--out", "tags.csv"), tmp_path)
    assert done.returncode == 2 and "--engine ray requires the package ray[data]" in done.stderr
    done = call_spectrim(("tag", folder, "--engine", "ray"), tmp_path)
    assert done.returncode == 2 and "--engine ray requires --out" in done.stderr
    assert not list(tmp_path.iterdir())


class Dies(Loudness):
    """Kills its process at the first window of so many processes, which leave a file each."""

    def __init__(self, marks: Path, times: int) -> None:
        super().__init__()
        self.marks, self.times = marks, times

    def probabilities(self, waveforms):
        if len(list(self.marks.iterdir())) < self.times:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().probabilities(waveforms)


@pytest.mark.slow
def test_a_local_cluster_has_the_rows_of_the_default_engine(tmp_path, monkeypatch):
    """One cluster for all: the command, embeddings, a worker that dies once, and one that dies."""
    ray = pytest.importorskip("ray", reason="it runs the job: pip install 'ray[data]'")
    from calls import call_spectrim

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    folder = write_recordings(tmp_path / "recordings")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        from spectrim.integrations import ray as engine

        monkeypatch.setattr(engine, "MAX_RECORDINGS", 4)
        for verb in ("tag", "embed"):
            for place in ("local", "ray"):
                done = call_spectrim(
                    (verb, "recordings", "--model", "ast-digits", "--threads", "1", "--engine",
                     place, "--out", f"{verb}-{place}.jsonl", "--tolerate-failures"),
                    tmp_path,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
            ours, expected = (
                read_table(tmp_path / f"{verb}-{place}.jsonl") for place in ("ray", "local")
            )
            assert len(ours) == len(expected)
            for row, other in zip(ours, expected, strict=True):
                for key, value in other.items():
                    numbers = isinstance(value, (float, list))
                    assert row[key] == (pytest.approx(value, abs=1e-5) if numbers else value)
        out = tmp_path / "tags.csv"
        marks = tmp_path / "once"
        marks.mkdir()
        run_job(folder, out, runner=Dies(marks, 1), engine=engine.rows_with_ray)
        assert read_table(out) == expected_rows(folder=folder)
        assert len(list(marks.iterdir())) == 1
        out, marks = tmp_path / "always.csv", tmp_path / "always"
        marks.mkdir()
        with pytest.raises(SpectrimError, match=r"the Ray worker that computed .* died 3 times"):
            run_job(folder, out, runner=Dies(marks, 100), engine=engine.rows_with_ray)
        run_job(folder, out, engine=engine.rows_with_ray)
        assert read_table(out) == expected_rows(folder=folder)
    finally:
        ray.shutdown()
