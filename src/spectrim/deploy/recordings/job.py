"""A job: recordings to one table, resumable recording by recording."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...common.errors import SpectrimError
from ...common.files import make_folder
from ...common.locks import claim
from ...common.text import counted
from ..tag import hop_samples
from ..windowed import SoundOutput, outputs_by_sound
from .decode_ahead import decoded_ahead, default_workers
from .input_recordings import Recording, without_repeated
from .journal import Journal
from .table_formats import table_format_of
from .table_layouts import Row, Table

BATCHES_AHEAD = 2  # decoded windows that wait, in batches
MAY_CHANGE = ("batch_size", "threads", "device", "versions", "compile_s")
"""Keys of a runner's context that may differ when a job is resumed."""


class Watcher:
    """Receives the progress of a job; see `progress.JobProgress`."""

    def start(self, recordings: Sequence[Recording]) -> None:
        """The recordings that are left."""

    def advance(self, path: str, seconds: float) -> None:
        """Seconds of a recording are computed."""

    def done(self, recording: Recording, error: str | None) -> None:
        """A recording is done, or has failed with an error."""


@dataclass(frozen=True)
class RecordingRows:
    """The rows of a finished recording.

    Attributes:
        recording: the recording.
        rows: rows of the table, without empty cells.
        seconds: computed sound in seconds.
        error: why the recording failed; None if it did not.
    """

    recording: Recording
    rows: list[Row]
    seconds: float
    error: str | None


class Engine(Protocol):
    """Computes the rows of recordings, in their order; arguments as `rows_of_recordings`."""

    def __call__(
        self,
        table: Table,
        recordings: Sequence[Recording],
        *,
        hop: float | None = None,
        batch_size: int = 8,
        workers: int | None = None,
        watcher: Watcher | None = None,
    ) -> Generator[RecordingRows]:
        """Yield the rows of each recording."""


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        out: the table.
        num_recordings: in the inputs of this call, each counted once.
        num_resumed: of these, done by earlier calls.
        num_repeated: left out, because they are listed more than once.
        seconds: of sound in the table.
        failures: path and reason of each recording with an error, by earlier calls as well.
        lengths: each recording, with the seconds of its sound that the table covers.
    """

    out: Path
    num_recordings: int
    num_resumed: int
    num_repeated: int
    seconds: float
    failures: list[tuple[str, str]]
    lengths: list[tuple[Recording, float]]


def outputs_of(
    table: Table,
    recordings: Sequence[Recording],
    *,
    hop: float | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Generator[tuple[Recording, SoundOutput]]:
    """The outputs of the table's model on recordings, in their order, decoded ahead in threads.

    Args:
        hop: seconds between the starts of two windows; None: a window's length.
        batch_size: windows of one or several recordings that are computed together.
        workers: decoding threads; None: one per core.
        watcher: receives the progress.

    Raises:
        SpectrimError: a hop or batch size out of range.
    """
    watcher, runner = watcher or Watcher(), table.runner
    step = hop_samples(runner, hop)
    if batch_size < 1:
        raise SpectrimError(f"batch size {batch_size}; expected at least 1.")
    watcher.start(recordings)
    items = decoded_ahead(
        recordings,
        runner.window,
        step,
        table.channel,
        runner.sample_rate,
        workers=workers or default_workers(),
        max_windows=BATCHES_AHEAD * batch_size,
    )
    with contextlib.closing(items):  # ends the threads whatever happens here
        for output in outputs_by_sound(items, table.compute, batch_size, watcher.advance):
            recording = recordings[output.number]
            watcher.done(recording, None if output.error is None else str(output.error))
            yield recording, output


def rows_of_recordings(
    table: Table,
    recordings: Sequence[Recording],
    *,
    hop: float | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Generator[RecordingRows]:
    """Yield the rows of recordings, in their order, computed in this process (default engine).

    Args:
        table: makes rows from the outputs of its model; the others are as for `outputs_of`.

    Raises:
        SpectrimError: as `outputs_of`.
    """
    outputs = outputs_of(
        table,
        recordings,
        hop=hop,
        batch_size=batch_size,
        workers=workers,
        watcher=watcher,
    )
    with contextlib.closing(outputs):
        for recording, output in outputs:
            error = None if output.error is None else str(output.error)
            yield RecordingRows(recording, table.rows(recording, output), output.seconds, error)


def write_table(
    table: Table,
    recordings: Sequence[Recording],
    out: Path,
    *,
    model: str,
    hop: float | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    watcher: Watcher | None = None,
    note: Callable[[str], None] = lambda text: None,
    engine: Engine = rows_of_recordings,
) -> Summary:
    """Write a table of recordings, or continue one that was interrupted.

    Args:
        out: a file that ends in .csv, .jsonl or .parquet; see `journal` for what lies beside it.
        model: the name of the model, for the journal.
        hop, batch_size, workers, watcher: as for `outputs_of`.
        note: called with a sentence for the user.
        engine: computes the rows.

    Raises:
        SpectrimError: the output belongs to another job, model or settings, or another process
            writes it; the disk is full; no recording can be listed.
    """
    step = hop_samples(table.runner, hop)
    table_format = table_format_of(out)(table.columns)
    chosen = without_repeated(recordings)
    if not any(recording.problem is None for recording in chosen):
        problems = [recording.problem for recording in chosen if recording.problem is not None]
        problems.append("no recording given. Pass sound files, folders, patterns or manifests.")
        raise SpectrimError(problems[0])
    make_folder(out.parent)
    with claim(out.with_name(f".{out.name}.lock")) as is_mine:
        if not is_mine:
            raise SpectrimError(f"another process is writing {out}. Wait for it, or stop it.")
        context = table.runner.context(model, batch_size)
        settings = _settings(table, step, context)
        journal = Journal(out, table_format, settings, context)
        remaining = [recording for recording in chosen if recording.key not in journal.entries]
        num_resumed = len(chosen) - len(remaining)
        if num_resumed:
            note(f"{out}: {num_resumed:,} of {len(chosen):,} recordings are done already.")
            _note_changed(out, journal, chosen, note)
        if remaining or not journal.is_finished:
            results = engine(
                table,
                remaining,
                hop=hop,
                batch_size=batch_size,
                workers=workers,
                watcher=watcher,
            )
            with journal.opened() as add, contextlib.closing(results):
                for done in results:
                    add(done.recording, done.rows, done.seconds, done.error)
            journal.finish()
        failures = [
            (recording.path, error)
            for recording in chosen
            if (error := journal.entries[recording.key].error) is not None
        ]
        return Summary(
            out,
            num_recordings=len(chosen),
            num_resumed=num_resumed,
            num_repeated=len(recordings) - len(chosen),
            seconds=journal.seconds,
            failures=failures,
            lengths=[(recording, journal.entries[recording.key].seconds) for recording in chosen],
        )


def _note_changed(
    out: Path, journal: Journal, recordings: Sequence[Recording], note: Callable[[str], None]
) -> None:
    changed = [
        recording
        for recording in recordings
        if recording.key in journal.entries and journal.has_changed(recording)
    ]
    if changed:
        note(
            f"{out}: {counted(len(changed), 'file')} changed after the rows were written, the "
            f"first is {changed[0].path}. The rows are kept. Choose another --out to compute them "
            "again."
        )


def _settings(table: Table, step: int, context: dict[str, Any]) -> dict[str, Any]:
    """What the rows depend on; `model` is a digest, since a name may come to mean another model."""
    fixed = {key: value for key, value in context.items() if key not in MAY_CHANGE}
    return (
        fixed
        | {
            "table": table.command,
            "model": table.runner.fingerprint(),
            "hop": step / table.runner.sample_rate,
        }
        | table.settings()
    )
