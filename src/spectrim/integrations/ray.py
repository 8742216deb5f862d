"""`--engine ray`: the rows of recordings from the workers of a Ray cluster, with Ray Data."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from ..common.errors import SpectrimError, SpectrimNotice, missing_package
from ..deploy.recordings.inputs import Recording
from ..deploy.recordings.job import RecordingRows, Watcher
from ..deploy.recordings.tables import FAILED, Column, Row, Table
from ..deploy.runner import Runner

try:
    import ray
    import ray.data
except ImportError as error:
    raise missing_package("--engine ray", "ray[data]", "ray") from error

import pyarrow  # a dependency of Ray Data

from .map_batches import RecordingBatches

MAX_RECORDINGS = 32  # of a task: enough to fill batches with windows of several recordings
MAX_BYTES = 64 << 20  # of the recordings of a task; they are computed again if a worker dies
ATTEMPTS_AGAIN = 2  # of a task whose worker dies, and of a worker
NUMBER, SECONDS, NOTES = "#number", "#seconds", "#notes"
"""Columns that workers add: index of the recording, its seconds of sound, and notices."""


def rows_with_ray(
    table: Table,
    recordings: Sequence[Recording],
    *,
    hop: float | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Generator[RecordingRows]:
    """The rows of recordings, in their order, computed on a Ray cluster; arguments as `Engine`.

    Runs in the cluster that Ray is connected to or finds (RAY_ADDRESS), or in a new one on this
    machine. Each worker holds a copy of the model. All workers must be able to read the paths.

    Args:
        workers: decoding threads of each worker; None: as many as the CPUs of the worker.

    Raises:
        SpectrimError: the model cannot run on the cluster; a worker dies repeatedly or fails.
    """
    watcher = watcher or Watcher()
    watcher.start(recordings)
    if not recordings:
        return
    _check_model(table.runner)
    for recording in recordings:
        if recording.load is not None:
            raise SpectrimError(
                f"--engine ray reads sound files, not rows of a data set such as {recording.path}. "
                "Use ray.data.read_parquet and spectrim.integrations.map_batches."
            )
    with _cluster(), _explained():
        place = _placement(table.runner)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        dataset = ray.data.from_arrow(_tasks(recordings)).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "table": ray.put(_portable(table)),
                "folder": os.getcwd(),
                "threads": place.cpus,
                "device": place.device,
                "hop": hop,
                "batch_size": batch_size,
                "workers": workers or place.cpus,
            },
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=place.count),
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            max_restarts=ATTEMPTS_AGAIN,
            max_task_retries=ATTEMPTS_AGAIN,
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for done in _results(batch, recordings, table.columns):
                watcher.advance(done.recording.path, done.seconds)
                watcher.done(done.recording, done.error)
                yield done


class _Worker(RecordingBatches):
    """Computes the recordings of a task; Ray creates one in each worker.

    Args:
        table: reference to the table, whose model is on the CPU.
        folder: that relative paths begin in; another one is the current folder of a worker.
        threads: of PyTorch.
        device: of the model.
    """

    def __init__(self, table: Any, folder: str, threads: int, device: str, **options: Any) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        received = ray.get(table)
        if _is_torch(received.runner):
            import torch

            from ..deploy.by_length import torch_runner

            torch.set_num_threads(threads)
            received = replace(received, runner=torch_runner(received.runner.model.to(device)))
        super().__init__(received, **options)

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Rows with the columns `NUMBER`, `SECONDS` and `NOTES`."""
        recordings = [
            Recording(os.fsdecode(row.pop("path")), **row)
            for row in batch.drop_columns([NUMBER]).to_pylist()
        ]
        numbers = batch.column(NUMBER).to_pylist()
        rows: list[Row] = []
        places: list[tuple[int, float]] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpectrimNotice)
            for number, done in zip(numbers, self.results(recordings), strict=True):
                rows += done.rows
                places += [(number, done.seconds)] * len(done.rows)
        notes = [str(w.message) for w in caught if issubclass(w.category, SpectrimNotice)]
        result = pyarrow.Table.from_batches([self._arrow.record_batch(rows)])
        extra = {
            NUMBER: pyarrow.array([number for number, _ in places], pyarrow.int64()),
            SECONDS: pyarrow.array([seconds for _, seconds in places], pyarrow.float64()),
            NOTES: pyarrow.array(
                ["\n".join(notes) or None] + [None] * (len(rows) - 1), pyarrow.string()
            ),
        }
        for name, cells in extra.items():
            result = result.append_column(name, cells)
        return result


@dataclass(frozen=True)
class _Placement:
    """Workers on a cluster: their number, and the CPUs, GPUs and the device of each."""

    count: int
    cpus: int
    gpus: int
    device: str


def _placement(runner: Runner) -> _Placement:
    """Workers that fill a cluster: one per GPU, or one per as many CPUs as the model has threads.

    Raises:
        SpectrimError: the model is on a GPU, and the cluster has none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    device = "cpu" if runner.device is None else runner.device.type
    if device == "cuda":
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        if not gpus:
            raise SpectrimError(
                "the model is on a GPU, but the Ray cluster has none. Pass --device cpu."
            )
        return _Placement(gpus, max(1, sum(cpus) // gpus), 1, device)
    threads = int(runner.context("", 1).get("threads", 1))
    each = max(1, min(threads, max(cpus, default=1)))
    return _Placement(max(1, sum(count // each for count in cpus)), each, 0, device)


def _check_model(runner: Runner) -> None:
    if runner.is_compiled:
        raise SpectrimError("--compile does not work with --engine ray. Leave out --compile.")
    if runner.device is not None and runner.device.type not in ("cpu", "cuda"):
        raise SpectrimError(
            f"--engine ray runs models on cpu or cuda, not on {runner.device.type}. Pass --device "
            "cpu."
        )


def _is_torch(runner: Runner) -> bool:
    return hasattr(runner, "model")


def _portable(table: Table) -> Table:
    """A table whose model is on the CPU, so that a worker can read it without a GPU."""
    if table.runner.device is None or table.runner.device.type == "cpu":
        return table
    from ..deploy.by_length import torch_runner
    from ..deploy.torch_runner import TorchRunner

    assert isinstance(table.runner, TorchRunner)
    return replace(table, runner=torch_runner(copy.deepcopy(table.runner.model).cpu()))


def _tasks(recordings: Sequence[Recording]) -> list[pyarrow.Table]:
    """Consecutive recordings in tables of `MAX_RECORDINGS` and `MAX_BYTES` at most.

    A recording of more bytes is alone. Paths are bytes, because Arrow's text must be UTF-8.
    """
    schema = pyarrow.schema(
        [
            pyarrow.field(NUMBER, pyarrow.int64()),
            pyarrow.field("path", pyarrow.binary()),
            pyarrow.field("start", pyarrow.float64()),
            pyarrow.field("end", pyarrow.float64()),
            pyarrow.field("problem", pyarrow.string()),
        ]
    )
    tasks: list[pyarrow.Table] = []
    rows: list[dict[str, Any]] = []
    size = 0.0
    for number, recording in enumerate(recordings):
        if rows and (len(rows) == MAX_RECORDINGS or size + recording.weight > MAX_BYTES):
            tasks.append(pyarrow.Table.from_pylist(rows, schema))
            rows, size = [], 0.0
        size += recording.weight
        rows.append(
            {
                NUMBER: number,
                "path": os.fsencode(recording.path),
                "start": recording.start,
                "end": recording.end,
                "problem": recording.problem,
            }
        )
    return [*tasks, pyarrow.Table.from_pylist(rows, schema)]


def _results(
    batch: pyarrow.Table, recordings: Sequence[Recording], columns: Sequence[Column]
) -> Iterator[RecordingRows]:
    """The rows of each recording in a batch of workers."""
    for note in filter(None, batch.column(NOTES).to_pylist()):
        for text in note.splitlines():
            warnings.warn(SpectrimNotice(text), stacklevel=2)
    plain = batch.drop_columns([NOTES]).to_pylist()
    for number, group in groupby(plain, lambda row: row[NUMBER]):
        rows = list(group)
        seconds = rows[0][SECONDS]
        cells = [_restored(row, columns) for row in rows]
        errors = [row["error"] for row in cells if row.get("status") == FAILED]
        yield RecordingRows(recordings[number], cells, seconds, errors[0] if errors else None)


def _restored(row: Row, columns: Sequence[Column]) -> Row:
    """The cells of a row as a table makes them, from Python's numbers, which have 64 bits."""
    cells: Row = {}
    for column in columns:
        value = row[column.name]
        if value is None:
            continue
        if column.kind == "float32":
            value = np.asarray(value, np.float32) if column.width else np.float32(value)
        cells[column.name] = value
    return cells


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    """A connection to a cluster; a cluster that this function starts ends with the context."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers by default
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        # Output of workers would go to stdout, which is for results.
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise SpectrimError(
            f"Ray cannot start or connect to a cluster ({_first_line(error)}). Check RAY_ADDRESS, "
            "or leave out --engine ray."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn errors of workers into sentences."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise _explanation(error) from error


def _explanation(error: ray.exceptions.RayError) -> SpectrimError:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = getattr(cause, "cause", None) or cause.__cause__
    for cause in causes:
        if isinstance(cause, SpectrimError):
            return SpectrimError(str(cause))
    dead = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
    memory = ray.exceptions.OutOfMemoryError
    if any(isinstance(cause, (*dead, memory, ray.exceptions.NodeDiedError)) for cause in causes):
        return SpectrimError(
            "a Ray worker died several times, such as for lack of memory. The rows of finished "
            "recordings are kept. Run the command again to continue, with a smaller --batch-size "
            "or fewer --threads if memory is short."
        )
    return SpectrimError(
        f"a Ray worker failed ({_first_line(causes[-1])}). The rows of finished recordings are "
        "kept. Run the command again to continue."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
