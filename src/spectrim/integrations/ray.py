"""`--engine ray`: compute the rows of recordings on a Ray cluster, with Ray Data."""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from ..common.errors import SpectrimError, SpectrimNotice, missing_package

try:
    import pyarrow  # a dependency of Ray Data
    import ray
    import ray.data
except ImportError as error:
    raise missing_package("--engine ray", "ray[data]", "ray") from error

from ..deploy.recordings.input_recordings import Recording
from ..deploy.recordings.job import RecordingRows, Watcher
from ..deploy.recordings.table_layouts import FAILED, Row, Table, TableColumn
from ..deploy.runner import Runner
from .map_batches import RecordingBatches
from .ray_cluster import KEPT, connected, explained, placement_of

MAX_RECORDINGS = 32  # in a task: enough to fill batches with windows of several recordings
MAX_BYTES = 64 << 20  # of sound files in a task: if a worker dies, its task is computed again
MAX_ATTEMPTS = 3  # for a task whose worker dies; Ray Data alone would repeat it for ever
NUMBER, SECONDS, NOTES = "#number", "#seconds", "#notes"
"""Columns that workers add: index of the recording, its seconds of sound, and notes."""
FAILURE = "#failure"
"""The only column of a result without rows: the reason why the job must end."""


def rows_with_ray(
    table: Table,
    recordings: Sequence[Recording],
    *,
    hop: float | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Generator[RecordingRows]:
    """Yield the rows of recordings, in their order, from a Ray cluster; arguments as for `Engine`.

    Runs on the cluster that Ray is connected to or that RAY_ADDRESS names, or else on a new one on
    this machine. Each worker holds a copy of the model. All workers must be able to read the paths.

    Args:
        workers: decoding threads of each worker; None: as many as the CPUs of the worker.

    Raises:
        SpectrimError: the model cannot run on the cluster; a worker fails or dies repeatedly.
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
    with connected(), explained():
        placement = placement_of(table.runner)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        counts = ray.remote(_Attempts).options(num_cpus=0).remote()
        dataset = ray.data.from_arrow(_tasks(recordings)).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "table": ray.put(_portable(table)),
                "attempts": counts,
                "most_starts": placement.count + MAX_ATTEMPTS,
                "folder": os.getcwd(),
                "threads": placement.cpus,
                "device": placement.device,
                "hop": hop,
                "batch_size": batch_size,
                "workers": workers or placement.cpus,
            },
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=placement.count),
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if FAILURE in batch.column_names:
                raise SpectrimError(batch.column(FAILURE)[0].as_py())
            for done in _results(batch, recordings, table.columns):
                watcher.advance(done.recording.path, done.seconds)
                watcher.done(done.recording, done.error)
                yield done


class _Attempts:
    """Counts the tasks and model loads that workers begin, in a process that outlives them."""

    def __init__(self) -> None:
        self.tasks: Counter[int] = Counter()
        self.num_starting = 0  # workers that have begun to load the model and have not finished

    def begin_task(self, number: int) -> int:
        """Count an attempt at a task, and return the number of its attempts so far."""
        self.tasks[number] += 1
        return self.tasks[number]

    def start(self) -> int:
        """Count a worker that loads the model; return how many are loading it or died meanwhile."""
        self.num_starting += 1
        return self.num_starting

    def started(self) -> None:
        """Count a worker that has loaded the model."""
        self.num_starting -= 1


class _Worker(RecordingBatches):
    """Computes the recordings of a task; Ray creates one in each worker.

    Args:
        table: reference to the table, whose model is on the CPU.
        attempts: actor of `_Attempts`.
        most_starts: maximum number of workers that load the model at a time, including those that
            died meanwhile.
        folder: base of relative paths, because workers start in another folder.
        threads: number of PyTorch threads.
        device: device of the model.
    """

    def __init__(
        self,
        table: Any,
        attempts: Any,
        most_starts: int,
        folder: str,
        threads: int,
        device: str,
        **options: Any,
    ) -> None:
        self._failure = None
        if ray.get(attempts.start.remote()) > most_starts:
            self._failure = (
                f"Ray workers died while they loaded the model, perhaps for lack of memory. {KEPT} "
                "to continue. Pass more --threads: fewer workers then share the memory."
            )
            return
        with contextlib.suppress(OSError):
            os.chdir(folder)
        received = ray.get(table)
        if _is_torch(received.runner):
            import torch

            from ..deploy.by_length import torch_runner

            torch.set_num_threads(threads)
            received = replace(received, runner=torch_runner(received.runner.model.to(device)))
        super().__init__(received, **options)
        ray.get(attempts.started.remote())
        self._attempts = attempts

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Return rows with the columns `NUMBER`, `SECONDS` and `NOTES`, or the column `FAILURE`."""
        if self._failure is not None:
            return pyarrow.table({FAILURE: [self._failure]})
        recordings = [
            Recording(os.fsdecode(row.pop("path")), **row)
            for row in batch.drop_columns([NUMBER]).to_pylist()
        ]
        numbers = batch.column(NUMBER).to_pylist()
        if ray.get(self._attempts.begin_task.remote(numbers[0])) > MAX_ATTEMPTS:
            others = f" and the next {len(recordings) - 1}" if len(recordings) > 1 else ""
            text = (
                f"the Ray worker that computed {recordings[0].path}{others} died "
                f"{MAX_ATTEMPTS} times, perhaps for lack of memory. {KEPT} to continue. Pass a "
                "smaller --batch-size if memory is short."
            )
            return pyarrow.table({FAILURE: [text]})
        rows: list[Row] = []
        sources: list[tuple[int, float]] = []  # of each row: number and seconds of its recording
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpectrimNotice)
            for number, done in zip(numbers, self.results(recordings), strict=True):
                rows += done.rows
                sources += [(number, done.seconds)] * len(done.rows)
        notes = [str(w.message) for w in caught if issubclass(w.category, SpectrimNotice)]
        result = pyarrow.Table.from_batches([self._arrow.record_batch(rows)])
        extra = {
            NUMBER: pyarrow.array([number for number, _ in sources], pyarrow.int64()),
            SECONDS: pyarrow.array([seconds for _, seconds in sources], pyarrow.float64()),
            NOTES: pyarrow.array(
                ["\n".join(notes) or None] + [None] * (len(rows) - 1), pyarrow.string()
            ),
        }
        for name, cells in extra.items():
            result = result.append_column(name, cells)
        return result


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
    """A copy of the table with its model on the CPU: a worker without a GPU can unpickle it."""
    if table.runner.device is None or table.runner.device.type == "cpu":
        return table
    from ..deploy.by_length import torch_runner
    from ..deploy.torch_runner import TorchRunner

    assert isinstance(table.runner, TorchRunner)
    return replace(table, runner=torch_runner(copy.deepcopy(table.runner.model).cpu()))


def _tasks(recordings: Sequence[Recording]) -> list[pyarrow.Table]:
    """Group consecutive recordings into tables of at most `MAX_RECORDINGS` and `MAX_BYTES`.

    A larger recording is a task of its own. Paths are bytes, because text in Arrow is UTF-8.
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
    batch: pyarrow.Table, recordings: Sequence[Recording], columns: Sequence[TableColumn]
) -> Iterator[RecordingRows]:
    """The rows of each recording in a batch from a worker; its notes become warnings."""
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


def _restored(row: Row, columns: Sequence[TableColumn]) -> Row:
    """The cells of a row with the types that a table makes: Arrow returns 64-bit Python numbers."""
    cells: Row = {}
    for column in columns:
        value = row[column.name]
        if value is None or (column.width and row["status"] == FAILED):
            continue  # a missing embedding is NaN in Arrow
        if column.dtype == "float32":
            value = np.asarray(value, np.float32) if column.width else np.float32(value)
        cells[column.name] = value
    return cells
