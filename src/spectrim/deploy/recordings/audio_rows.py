"""Sounds in data sets of Hugging Face `datasets` on disk: Parquet files, `save_to_disk` folders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from ...audio.sounds import Sound
from ...common.errors import SpectrimError, missing_package
from ...common.parse import read_json
from .input_recordings import Recording

SUFFIXES = (".parquet", ".arrow")
STATE, SPLITS = "state.json", "dataset_dict.json"  # files of `save_to_disk`
AUDIO_FIELDS = {"bytes", "path"}  # of the struct in which `datasets` stores a sound
GROUPS_HELD = 2  # row groups in memory: threads decode neighbouring rows


def is_data_set(path: Path) -> bool:
    """Whether a path is a Parquet or Arrow file, or a folder that `save_to_disk` wrote."""
    if path.is_dir():
        return (path / STATE).is_file() or (path / SPLITS).is_file()
    return path.suffix.lower() in SUFFIXES and path.is_file()


def recordings_in_data_set(path: Path) -> list[Recording]:
    """The sounds of a data set, in the order of its rows, with names such as "clips.parquet#12".

    Raises:
        SpectrimError: pyarrow is not installed; a file cannot be read, or does not have exactly one
            column of sounds; a folder contains several splits.
    """
    if not path.is_dir():
        return _recordings_of_file(path)
    if (path / SPLITS).is_file():
        splits = read_json(path / SPLITS).get("splits", [])
        raise SpectrimError(
            f"{path}: contains the splits {', '.join(map(str, splits))}. Pass one of them, such as "
            f"{path / str(next(iter(splits), 'train'))}."
        )
    try:
        names = [file["filename"] for file in read_json(path / STATE)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise SpectrimError(
            f"{path / STATE}: does not list the files of the data set. Save the data set again "
            "with save_to_disk."
        ) from error
    return [recording for name in names for recording in _recordings_of_file(path / name)]


def _recordings_of_file(path: Path) -> list[Recording]:
    reader: type[_Rows] = _ParquetRows if path.suffix.lower() == ".parquet" else _ArrowRows
    rows = reader(path)
    if not rows.count:
        raise SpectrimError(f"{path}: contains no row.")
    return [
        Recording(f"{path}#{index}", load=partial(rows.sound, index), name=f"{path.stem}-{index}")
        for index in range(rows.count)
    ]


class _Rows(ABC):
    """The sounds of one file, read in groups of neighbouring rows. Threads may share an instance.

    Attributes:
        path: the file.
        count: number of rows.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise missing_package(f"{path}", "pyarrow", "tables") from error
        self.path, self._pyarrow = path, pyarrow
        self._lock = Lock()
        self._held: OrderedDict[int, Any] = OrderedDict()  # columns of sounds by group
        try:
            self._column, sizes = self._opened()
        except (OSError, pyarrow.ArrowException) as error:
            raise self._unreadable(error) from error
        # Group g has the rows from ends[g - 1] to ends[g] - 1.
        self._ends = list(accumulate(sizes))
        self.count = sum(sizes)

    def sound(self, index: int) -> Sound:
        """The sound in a row, as {"bytes", "path"}.

        Raises:
            SpectrimError: the row is empty, or the file can no longer be read.
        """
        group = bisect_right(self._ends, index)
        first = self._ends[group - 1] if group else 0
        with self._lock:
            if group not in self._held:
                try:
                    self._held[group] = self._group(group)
                except (OSError, self._pyarrow.ArrowException) as error:
                    raise self._unreadable(error) from error
                while len(self._held) > GROUPS_HELD:
                    self._held.popitem(last=False)
            sound = self._held[group][index - first].as_py()
        if sound is None or all(value is None for value in sound.values()):
            raise SpectrimError(f"{self.path}#{index}: the row contains no sound.")
        return sound

    @abstractmethod
    def _opened(self) -> tuple[str, list[int]]:
        """The name of the column of sounds, and the number of rows in each group."""

    @abstractmethod
    def _group(self, number: int) -> Any:
        """The sounds of a group."""

    def _audio_column(self, schema: Any) -> str:
        names = [
            field.name
            for field in schema
            if self._pyarrow.types.is_struct(field.type)
            and {field.type.field(i).name for i in range(field.type.num_fields)} == AUDIO_FIELDS
        ]
        if len(names) != 1:
            number = f"{len(names)} columns" if names else "no column"
            raise SpectrimError(
                f"{self.path}: {number} of sounds; expected exactly one with bytes and path, as "
                f"datasets stores Audio. Its columns: {', '.join(schema.names)}."
            )
        return names[0]

    def _unreadable(self, error: Exception) -> SpectrimError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        return SpectrimError(f"{self.path}: pyarrow cannot read it ({reason}). Copy it again.")


class _ParquetRows(_Rows):
    """Sounds of a Parquet file."""

    def _opened(self) -> tuple[str, list[int]]:
        self._file = self._pyarrow.parquet.ParquetFile(self.path)
        metadata = self._file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        return self._audio_column(self._file.schema_arrow), sizes

    def _group(self, number: int) -> Any:
        return self._file.read_row_group(number, columns=[self._column]).column(0)


class _ArrowRows(_Rows):
    """Sounds of an Arrow stream, which is mapped into memory instead of copied."""

    def _opened(self) -> tuple[str, list[int]]:
        with self._pyarrow.ipc.open_stream(self._pyarrow.memory_map(str(self.path))) as stream:
            name = self._audio_column(stream.schema)
            self._batches = [batch.column(name) for batch in stream]
        return name, [len(batch) for batch in self._batches]

    def _group(self, number: int) -> Any:
        return self._batches[number]
