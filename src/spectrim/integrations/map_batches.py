"""Callables that map a batch of paths to rows, for jobs of Ray, Spark or `datasets`.

    import ray
    from spectrim.integrations.map_batches import TagBatches

    paths = ray.data.from_items([{"path": path} for path in files])
    rows = paths.map_batches(
        TagBatches,
        fn_constructor_kwargs={"model": "ast-digits", "top": 3},
        batch_size=32,
        num_cpus=4,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    rows.write_parquet("tags")

An instance holds its model, so each worker creates one instance and calls it for every batch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from ..audio.channels import MIX, Channel
from ..audio.sounds import Sound, sound_name
from ..common.errors import SpectrimError, missing_package
from ..deploy.events import EventRule
from ..deploy.read_thresholds import DEFAULT_THRESHOLD, Thresholds
from ..deploy.recordings.input_recordings import Recording
from ..deploy.recordings.job import RecordingRows, rows_of_recordings
from ..deploy.recordings.table_layouts import EmbeddingTable, EventTable, Table, TagTable, WideTable
from ..deploy.runner import Runner
from ..deploy.tag import event_hop, hop_samples

try:
    import pyarrow

    from ..deploy.recordings.parquet import Parquet
except ImportError as error:
    raise missing_package("spectrim.integrations.map_batches", "pyarrow", "tables") from error

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

    Model: TypeAlias = str | os.PathLike[str] | SpectrogramTransformer | Runner


class RecordingBatches:
    """Maps a batch of recordings to the rows of a table, in the order of the recordings.

    Args:
        table: makes rows from the outputs of its model.
        hop: seconds between the starts of two windows; None: a window's length.
        batch_size: windows of one or several recordings that the model computes together.
        workers: decoding threads; None: one per core, at most 8.

    Raises:
        SpectrimError: a value out of range.
    """

    def __init__(
        self,
        table: Table,
        *,
        hop: float | None = None,
        batch_size: int = 8,
        workers: int | None = None,
    ) -> None:
        hop_samples(table.runner, hop)
        if batch_size < 1:
            raise SpectrimError(f"batch size {batch_size}; expected at least 1.")
        self.table, self.hop, self.batch_size, self.workers = table, hop, batch_size, workers
        self._arrow = Parquet(table.columns)

    @property
    def schema(self) -> pyarrow.Schema:
        """Names and types of the columns of the rows."""
        return self._arrow.schema

    def __call__(self, batch: Any) -> pyarrow.Table:
        """The rows of a batch.

        Args:
            batch: a dictionary of arrays, an Arrow table or a pandas DataFrame. Its column `path`
                contains paths, or its column `audio` contains rows of `datasets`, as
                {"bytes", "path"} or {"array", "sampling_rate"}. The optional columns `start` and
                `end` select a part of each file, in seconds.

        Returns:
            Rows as in the tables of `spectrim tag --out` and `spectrim embed --out`. A recording
            that cannot be read has a row with the status "failed" and the error.

        Raises:
            SpectrimError: the batch has neither column.
        """
        results = self.results(recordings_in(batch))
        rows = [row for done in results for row in done.rows]
        return pyarrow.Table.from_batches([self._arrow.record_batch(rows)])

    def results(self, recordings: Sequence[Recording]) -> Iterator[RecordingRows]:
        """The rows of each recording, in their order."""
        results = rows_of_recordings(
            self.table,
            recordings,
            hop=self.hop,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        with contextlib.closing(results):
            yield from results


class TagBatches(RecordingBatches):
    """One row per window and label, as `spectrim tag --out`.

    Args:
        model: a name that `spectrim.load` takes, the path of an .onnx file, a model, or a runner.
        wide: return one row per window, with one column per class; `top` and `threshold` have no
            effect.
        top, threshold, hop, one_row, channel: as for `spectrim.tag`.
        batch_size, workers: as for `RecordingBatches`.
        load_options: arguments of `spectrim.load` or `load_onnx`, such as {"device": "cuda"}.
    """

    def __init__(
        self,
        model: Model,
        *,
        top: int = 5,
        threshold: Thresholds = 0.0,
        wide: bool = False,
        hop: float | None = None,
        one_row: str | None = None,
        channel: Channel = MIX,
        batch_size: int = 8,
        workers: int | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        runner = runner_of(model, load_options)
        table = (
            WideTable(runner, one_row, channel)
            if wide
            else TagTable(runner, one_row, channel, top, threshold)
        )
        super().__init__(table, hop=hop, batch_size=batch_size, workers=workers)


class EventBatches(RecordingBatches):
    """One row per event, as `spectrim tag --events --out`.

    Args:
        thresholds, release, merge_gap, min_duration, hop: as for `spectrim.tag_events`.
        model, channel, batch_size, workers, load_options: as for `TagBatches`.
    """

    def __init__(
        self,
        model: Model,
        *,
        thresholds: Thresholds = DEFAULT_THRESHOLD,
        release: float = 1.0,
        merge_gap: float = 0.0,
        min_duration: float = 0.0,
        hop: float | None = None,
        channel: Channel = MIX,
        batch_size: int = 8,
        workers: int | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        runner = runner_of(model, load_options)
        table = EventTable(runner, channel, EventRule(thresholds, release, merge_gap, min_duration))
        hop = event_hop(runner, hop)
        super().__init__(table, hop=hop, batch_size=batch_size, workers=workers)


class EmbedBatches(RecordingBatches):
    """One row per window with its embedding, as `spectrim embed --out`.

    Arguments are as for `TagBatches`.
    """

    def __init__(
        self,
        model: Model,
        *,
        hop: float | None = None,
        one_row: str | None = None,
        channel: Channel = MIX,
        batch_size: int = 8,
        workers: int | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        table = EmbeddingTable(runner_of(model, load_options), one_row, channel)
        super().__init__(table, hop=hop, batch_size=batch_size, workers=workers)


def runner_of(model: Model, load_options: Mapping[str, Any] | None = None) -> Runner:
    """The runner of a model, which is loaded if it is a name; arguments as for `TagBatches`.

    Raises:
        SpectrimError: the model cannot be loaded; options are given for a loaded model.
    """
    options = dict(load_options or {})
    if isinstance(model, (str, os.PathLike)):
        if os.fspath(model).lower().endswith(".onnx"):
            from ..deploy.onnx_model import load_onnx

            return load_onnx(model, **options)
        from ..models.loading.load import load

        model, options = load(model, **options), {}
    if options:
        raise SpectrimError("load_options applies to names. Load the model with these options.")
    if isinstance(model, Runner):
        return model
    from ..deploy.by_length import torch_runner

    return torch_runner(model)


def recordings_in(batch: Any) -> list[Recording]:
    """The recordings of a batch; see `RecordingBatches.__call__`.

    Raises:
        SpectrimError: the batch has no column `path` or `audio`.
    """
    columns = _columns(batch)
    starts, ends = (map(_seconds, _cells(batch, columns, name)) for name in ("start", "end"))
    if "path" in columns:
        paths = [os.fsdecode(path) for path in _cells(batch, columns, "path")]
        return [
            Recording(path, start, end)
            for path, start, end in zip(paths, starts, ends, strict=True)
        ]
    if "audio" in columns:
        sounds: list[Sound] = _cells(batch, columns, "audio")
        return [
            Recording(sound_name(sound), start, end, load=partial(_same, sound))
            for sound, start, end in zip(sounds, starts, ends, strict=True)
        ]
    raise SpectrimError(
        "a batch of recordings needs a column 'path' of paths, or a column 'audio' of rows of "
        f"datasets. It has: {', '.join(map(repr, columns)) or 'no column'}."
    )


def _columns(batch: Any) -> list[str]:
    if isinstance(batch, Mapping):
        return list(batch)
    return list(getattr(batch, "column_names", ())) or list(batch.columns)


def _cells(batch: Any, columns: Sequence[str], name: str) -> list[Any]:
    """The cells of a column as Python objects, or None for each row if the column is absent."""
    if name not in columns:
        return [None] * len(_cells(batch, columns, columns[0]))
    cells = batch[name]
    return cells.to_pylist() if hasattr(cells, "to_pylist") else list(cells)


def _same(sound: Sound) -> Sound:
    return sound


def _seconds(cell: Any) -> float | None:
    """Seconds; None for an empty cell, which pandas and numpy store as NaN."""
    return None if cell is None or cell != cell else float(cell)
