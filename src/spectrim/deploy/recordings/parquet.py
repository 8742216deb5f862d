"""Parquet tables, with pyarrow.

A Parquet file cannot be appended to. The rows of each recording are therefore appended as one
record batch to an Arrow stream, `tags.parquet.rows`, from which the Parquet file is written when
all recordings are done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...common.errors import SpectrimError, missing_package
from ...common.files import written_aside
from .table_formats import TableFormat
from .table_layouts import Row, TableColumn

try:
    import pyarrow
    import pyarrow.parquet
except ImportError as error:
    raise missing_package("a Parquet table", "pyarrow", "tables") from error

GROUP_ROWS = 65_536  # rows of a Parquet row group
GROUP_VALUES = 8_000_000  # values of a row group, for tables with many or long columns
METADATA_KEY = b"spectrim"  # in the metadata of the schema: model, plan and versions as JSON


class Parquet(TableFormat):
    """A Parquet file; embeddings are lists of a fixed size, NaN for recordings that failed."""

    rows_suffix: ClassVar[str] = ".rows"
    ends_with_line: ClassVar[bool] = False

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        super().__init__(columns)
        self.schema = pyarrow.schema(
            [pyarrow.field(column.name, _type_of(column)) for column in columns]
        )

    def header(self) -> bytes:
        """The schema as a message of an Arrow stream."""
        return self.schema.serialize().to_pybytes()

    def encode(self, rows: Sequence[Row]) -> bytes:
        """A record batch as a message of an Arrow stream."""
        return self.record_batch(rows).serialize().to_pybytes()

    def record_batch(self, rows: Sequence[Row]) -> pyarrow.RecordBatch:
        """Convert rows to a record batch with the schema of the table."""
        arrays = [
            _array([row.get(column.name) for row in rows], column, field.type)
            for column, field in zip(self.columns, self.schema, strict=True)
        ]
        return pyarrow.record_batch(arrays, schema=self.schema)

    def read(self, out: Path) -> Iterator[Row]:
        """The rows, row group after row group."""
        with _readable(out), pyarrow.parquet.ParquetFile(out) as file:
            for batch in file.iter_batches(self._group_rows()):
                yield from batch.to_pylist()

    def finish(self, rows: Path, out: Path, record: dict[str, Any]) -> None:
        """Write the Parquet file from the stream, in row groups of a useful size."""
        schema = self.schema.with_metadata({METADATA_KEY: json.dumps(record)})
        with (
            written_aside(out) as aside,
            _readable(rows),
            pyarrow.OSFile(str(rows)) as file,
            pyarrow.ipc.open_stream(file) as stream,
            pyarrow.parquet.ParquetWriter(aside, schema, compression="zstd") as writer,
        ):
            for group in _groups(stream, self._group_rows()):
                writer.write_table(group.cast(schema))

    def restore(self, out: Path, rows: Path) -> None:
        """Copy the rows of a Parquet file to a stream."""
        with _readable(out), pyarrow.parquet.ParquetFile(out) as file, rows.open("wb") as stream:
            stream.write(self.header())
            for batch in file.iter_batches(self._group_rows()):
                plain = pyarrow.Table.from_batches([batch]).cast(self.schema)
                for part in plain.to_batches():
                    stream.write(part.serialize().to_pybytes())

    def _group_rows(self) -> int:
        values = sum(max(1, column.width) for column in self.columns)
        return max(1, min(GROUP_ROWS, GROUP_VALUES // values))


def _type_of(column: TableColumn) -> Any:
    types = {
        "text": pyarrow.string(),
        "float64": pyarrow.float64(),
        "float32": pyarrow.float32(),
    }
    dtype = types[column.dtype]
    return pyarrow.list_(dtype, column.width) if column.width else dtype


def _array(cells: list[Any], column: TableColumn, dtype: Any) -> Any:
    if not column.width:
        return pyarrow.array(cells, dtype)
    # NaN for a recording that failed: pyarrow 18 to 24 cannot read null lists of a fixed size.
    missing = np.full(column.width, np.nan, np.float32)
    present = [missing if cell is None else np.asarray(cell, np.float32) for cell in cells]
    values = np.concatenate([np.zeros(0, np.float32), *present])
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values), type=dtype)


def _groups(stream: Any, num_rows: int) -> Iterator[Any]:
    """Tables of at least `num_rows` rows, except the last, from the batches of a stream."""
    batches: list[Any] = []
    waiting = 0
    for batch in stream:
        batches.append(batch)
        waiting += batch.num_rows
        if waiting >= num_rows:
            yield pyarrow.Table.from_batches(batches, stream.schema).combine_chunks()
            batches, waiting = [], 0
    if batches or waiting == 0:
        yield pyarrow.Table.from_batches(batches, stream.schema)


class _readable:
    """Turn errors of pyarrow about a damaged file into a sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, error_type: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pyarrow.ArrowException):
            reason = str(error).strip().rstrip(".") or type(error).__name__
            raise SpectrimError(
                f"{self.path}: pyarrow cannot read it ({reason}), so the job cannot be resumed. "
                "Choose another --out."
            ) from error
