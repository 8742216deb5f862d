"""The journal of a job: which recordings are done, and how many bytes their rows take.

The journal lies beside the output, as `tags.csv.job`. It is a text file of JSON lines: the settings
of the job, then one line for each recording whose rows are written. Rows are appended first and
the line second, so the rows of a line are complete whatever interrupts the process. To resume,
the file of rows is cut to the bytes that the last line states.

    {"format": "spectrim-job", "format_version": 1, "settings": {...}, "record": {...}}
    {"file": "/a.wav", "start": null, "end": null, "seconds": 9.5, "error": null, "bytes": 310,
     "version": [152044, 1764265412000000000]}
    {"finished": 310}
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ...common.errors import SpectrimError
from ...common.files import save, written_aside
from ...common.hooks import pass_point
from ...common.text import counted
from .input_recordings import Key, Recording, Version
from .table_formats import TableFormat
from .table_layouts import Row

FORMAT = "spectrim-job"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class JournalEntry:
    """A recording that is done.

    Attributes:
        key: of the recording.
        seconds: of sound that was computed.
        error: why it failed; None if it did not.
        end: bytes of the file of rows up to its last row.
        version: of the sound file; None if it has none, or was not recorded.
    """

    key: Key
    seconds: float
    error: str | None
    end: int
    version: Version | None = None


class Journal:
    """Rows and journal of a job, resumed if they are there.

    Args:
        out: the output.
        table_format: of the output.
        settings: what the rows depend on; a job resumes with the same settings only.
        record: how the rows were computed, for people.

    Attributes:
        entries: recordings that are done, by their keys.

    Raises:
        SpectrimError: the output belongs to another job, was computed with other settings, or was
            changed since.
    """

    def __init__(
        self,
        out: Path,
        table_format: TableFormat,
        settings: Mapping[str, Any],
        record: Mapping[str, Any],
    ) -> None:
        self.out, self.format, self.record = out, table_format, dict(record)
        self.rows_path = out.with_name(out.name + table_format.rows_suffix)
        self.path = out.with_name(out.name + ".job")
        self.entries: dict[Key, JournalEntry] = {}
        self.is_finished = False
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": dict(settings),
            "record": self.record,
        }
        self._header = json.dumps(header) + "\n"
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        if not self.path.exists():
            if out.exists():
                raise SpectrimError(
                    f"{out} exists without {self.path.name}, so another program wrote it. Choose "
                    "another --out, or delete the file."
                )
        elif self.rows_path.exists() or out.exists():
            self._read(settings)

    @property
    def seconds(self) -> float:
        """Seconds of sound of all recordings that are done."""
        return sum(entry.seconds for entry in self.entries.values())

    def has_changed(self, recording: Recording) -> bool:
        """Whether the file of a recording that is done was changed afterwards."""
        version = self.entries[recording.key].version
        return version is not None and recording.version not in (version, None)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[Recording, list[Row], float, str | None], None]]:
        """Yield a function that adds a recording, its rows, seconds of sound and error.

        Raises:
            SpectrimError: the disk is full, or the files cannot be written for another reason.
        """
        with self._explained(self.out), contextlib.ExitStack() as stack:
            self._begin()
            rows_file = stack.enter_context(self.rows_path.open("r+b", 0))
            journal = stack.enter_context(self.path.open("ab", 0))
            self._cut(rows_file)
            files = stack.pop_all()
        with files:
            self._files = rows_file, journal
            yield self._add
        self._files = None

    def finish(self) -> None:
        """Make the output from the rows, and mark the job as finished."""
        with self._explained(self.out):
            try:
                self.format.finish(self.rows_path, self.out, self.record)
            except SpectrimError as error:
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from None  # `_explained` has a better message
                raise
            with self.path.open("ab", 0) as journal:
                _write_all(journal, _line({"finished": self.out.stat().st_size}))
            pass_point("table:finished")
            if self.rows_path != self.out:
                self.rows_path.unlink(missing_ok=True)
        self.is_finished = True

    def _cut(self, rows_file: BinaryIO) -> None:
        """Cut the file of rows behind the last recording that is done, and go to its end."""
        end = max((entry.end for entry in self.entries.values()), default=0)
        if end and self.format.ends_with_line:
            rows_file.seek(end - 1)
            if rows_file.read(1) != b"\n":
                raise SpectrimError(
                    f"{self.rows_path} was changed while its job was interrupted, so it cannot be "
                    f"resumed. Choose another --out, or delete it together with {self.path.name}."
                )
        rows_file.truncate(end)
        rows_file.seek(end)
        if not end:
            _write_all(rows_file, self.format.header())

    def _begin(self) -> None:
        """Write the journal as far as it is valid, and make sure that the file of rows exists."""
        if self.rows_path.exists() or not self.entries:
            self._save_journal()
            self.rows_path.touch()
            return
        # A finished output whose file of rows was removed: make one from the output.
        with written_aside(self.rows_path) as aside:
            self.format.restore(self.out, aside)
            end = aside.stat().st_size
            self.entries = {key: replace(entry, end=end) for key, entry in self.entries.items()}
            self._save_journal()

    def _save_journal(self) -> None:
        def write(aside: Path) -> None:
            with aside.open("wb") as file:
                file.write(self._header.encode())
                for entry in self.entries.values():
                    file.write(_entry_line(entry))

        save(self.path, write)
        self.is_finished = False

    def _add(
        self, recording: Recording, rows: list[Row], seconds: float, error: str | None
    ) -> None:
        assert self._files is not None
        rows_file, journal = self._files
        with self._explained(self.out):
            _write_all(rows_file, self.format.encode(rows))
            pass_point("table:rows")
            entry = JournalEntry(recording.key, seconds, error, rows_file.tell(), recording.version)
            _write_all(journal, _entry_line(entry))
        self.entries[entry.key] = entry
        pass_point("table:files")

    def _read(self, settings: Mapping[str, Any]) -> None:
        header, lines = self._parsed()
        _check_settings(self.out, header["settings"], settings)
        rows_exist = self.rows_path.exists()
        size = (self.rows_path if rows_exist else self.out).stat().st_size
        finished = lines[-1].get("finished") if lines else None
        if finished is not None and (not rows_exist or self.rows_path == self.out):
            if size != finished:
                raise SpectrimError(
                    f"{self.out} was changed after its job had finished: it has {size:,} bytes "
                    f"instead of {finished:,}. Choose another --out, or delete it together with "
                    f"{self.path.name}."
                )
            self.is_finished = True
        elif not rows_exist:
            raise SpectrimError(
                f"{self.out} cannot be resumed, because {self.rows_path.name} is missing. Choose "
                f"another --out, or delete it together with {self.path.name}."
            )
        try:
            for line in lines:
                if "finished" in line:
                    continue
                key = (line["file"], line["start"], line["end"])
                version = line.get("version")
                entry = JournalEntry(
                    key,
                    line["seconds"],
                    line["error"],
                    line["bytes"],
                    None if version is None else tuple(version),
                )
                if entry.end <= size or self.is_finished:
                    self.entries[key] = entry
        except (KeyError, TypeError) as error:
            raise self._broken() from error

    def _parsed(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The header and the whole lines of the journal; a line that was cut off is left out."""
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            header, *rest = [json.loads(line) for line in lines]
            is_known = header["format"] == FORMAT and isinstance(header["settings"], dict)
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken() from error
        if not is_known or header["format_version"] != FORMAT_VERSION:
            raise self._broken()
        return header, rest

    def _broken(self) -> SpectrimError:
        return SpectrimError(
            f"{self.path}: not a journal that this Spectrim can read, so {self.out.name} cannot be "
            "resumed. Choose another --out, or delete both files."
        )

    @contextlib.contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpectrimError(
                f"cannot write {path}: {error.strerror or error}. The rows of "
                f"{counted(len(self.entries), 'recording')} are kept. Run the command again to "
                "continue."
            ) from error


def _check_settings(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    new = json.loads(json.dumps(new))  # as the file stores them
    different = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if not different:
        return
    if old.get("table") != new.get("table"):
        raise SpectrimError(
            f"{out} is a table of `spectrim {old.get('table')}`, not of "
            f"`spectrim {new.get('table')}`. Choose another --out."
        )
    texts = []
    for key in different:
        if key == "model" or isinstance(new.get(key), (dict, list)):
            texts.append(f"another {key}")
        else:
            texts.append(f"{key} was {old.get(key)} and is now {new.get(key)}")
    raise SpectrimError(
        f"{out} was started with other settings ({'; '.join(texts)}). Repeat the settings of the "
        "first call to continue, or choose another --out."
    )


def _entry_line(entry: JournalEntry) -> bytes:
    file, start, end = entry.key
    return _line(
        {
            "file": file,
            "start": start,
            "end": end,
            "seconds": round(entry.seconds, 3),
            "error": entry.error,
            "bytes": entry.end,
            "version": entry.version,
        }
    )


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value) + "\n").encode()


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take a part of the bytes at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
