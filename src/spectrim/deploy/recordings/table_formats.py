"""Formats of a table of recordings, by the suffix of the file.

A format turns the rows of one recording into bytes that are appended to a file. After the header,
the file may be cut after any recording and remains readable.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...common.errors import SpectrimError
from .table_layouts import Row, TableColumn, names_of_columns


class TableFormat(ABC):
    """A way to store rows.

    Attributes:
        columns: of the table.
        rows_suffix: what the name of the file that rows are appended to adds to the name of the
            output; "" if that file is the output.
        ends_with_line: whether the rows of a recording end with a line feed.
    """

    rows_suffix: ClassVar[str] = ""
    ends_with_line: ClassVar[bool] = True

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        self.columns = list(columns)

    @abstractmethod
    def header(self) -> bytes:
        """The beginning of the file."""

    @abstractmethod
    def encode(self, rows: Sequence[Row]) -> bytes:
        """The rows of one recording."""

    @abstractmethod
    def read(self, out: Path) -> Iterator[Row]:
        """The rows of a finished output; None for cells that are empty.

        Raises:
            SpectrimError: the file is damaged.
        """

    def finish(self, rows: Path, out: Path, record: dict[str, Any]) -> None:  # noqa: B027
        """Make the output from the file of rows; `record` says how they were computed."""

    def restore(self, out: Path, rows: Path) -> None:  # noqa: B027
        """Make the file of rows from a finished output."""


class Csv(TableFormat):
    """Comma-separated values in UTF-8; empty cells have no value."""

    def header(self) -> bytes:
        """The names of the columns."""
        return self._lines([names_of_columns(self.columns)])

    def encode(self, rows: Sequence[Row]) -> bytes:
        """One line per row."""
        return self._lines([self._cells(row) for row in rows])

    def read(self, out: Path) -> Iterator[Row]:
        """The rows, with numbers as numbers."""
        with out.open(encoding="utf-8", newline="") as file:
            for cells in csv.DictReader(file):
                yield {column.name: self._value(column, cells) for column in self.columns}

    def _value(self, column: TableColumn, cells: dict[str, str]) -> Any:
        texts = [cells[name] for name in names_of_columns([column])]
        if texts[0] == "":
            return None
        if column.width:
            return np.array(texts, np.float32)
        return texts[0] if column.dtype == "text" else float(texts[0])

    def _cells(self, row: Row) -> list[Any]:
        cells: list[Any] = []
        for column in self.columns:
            value = row.get(column.name)
            if column.width:
                cells += [""] * column.width if value is None else shortest(value)
            else:
                cells.append(shortest_value(value))
        return cells

    @staticmethod
    def _lines(rows: list[list[Any]]) -> bytes:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(rows)
        return stream.getvalue().encode()


class JsonLines(TableFormat):
    """One JSON object per line, with every column; null where a row has no value."""

    def header(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """One line per row."""
        lines = [
            json.dumps(
                {
                    column.name: shortest(value)
                    if column.width and (value := row.get(column.name)) is not None
                    else shortest_value(row.get(column.name))
                    for column in self.columns
                },
                ensure_ascii=False,
                allow_nan=False,
            )
            for row in rows
        ]
        return "".join(line + "\n" for line in lines).encode()

    def read(self, out: Path) -> Iterator[Row]:
        """The rows."""
        with out.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def shortest_value(value: Any) -> Any:
    """A float32 as the shortest decimal number that stands for it; other values unchanged."""
    return float(str(value)) if isinstance(value, np.float32) else value


def shortest(values: np.ndarray) -> list[float]:
    """(any,) float32 as shortest decimal numbers."""
    return [float(text) for text in np.asarray(values, np.float32).astype(str)]


def table_format_of(out: Path) -> type[TableFormat]:
    """The format that the suffix of an output names.

    Raises:
        SpectrimError: no format has this suffix; the package of the format is not installed.
    """
    suffix = out.suffix.lower()
    if suffix == ".parquet":
        from .parquet import Parquet  # here: pyarrow is an extra

        return Parquet
    formats: dict[str, type[TableFormat]] = {".csv": Csv, ".jsonl": JsonLines}
    if suffix not in formats:
        raise SpectrimError(
            f"--out {out}: unknown table format. Use a file name that ends in .csv, .jsonl or "
            ".parquet."
        )
    return formats[suffix]
