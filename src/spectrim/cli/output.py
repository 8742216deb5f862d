"""What commands print: results to stdout, notes and progress to stderr."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ..common.interruption import Stopped
from ..common.text import duration, message_text, printable

LINE_EVERY = 60  # seconds between lines of progress where stderr is not a terminal
MAX_SKEW = 0.1  # of its half width: an interval less skewed than this is written with ±


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class TableOrJson(StrEnum):
    """How a result without a CSV form is printed."""

    table = "table"
    json = "json"


@dataclass(frozen=True)
class Output:
    """How a command prints its result."""

    format: Annotated[
        TableOrJson, typer.Option(help="How to print the result.", rich_help_panel="Output")
    ] = TableOrJson.table
    json: Annotated[
        bool, typer.Option("--json", help="Same as --format json.", rich_help_panel="Output")
    ] = False

    @property
    def is_table(self) -> bool:
        """Whether the result is printed as a table for people."""
        return not self.json and self.format.value == Format.table

    def emit(
        self,
        result: Any,
        print_table: Callable[[], None],
        csv_columns: Sequence[str] = (),
        csv_rows: Iterable[Sequence[Any]] = (),
    ) -> None:
        """Print a result: JSON as it is, CSV rows under their header, or a table for people."""
        if self.json or self.format.value == Format.json:
            sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
        elif self.format.value == Format.csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(csv_columns)
            writer.writerows(csv_rows)
        else:
            print_table()


@dataclass(frozen=True)
class OutputWithCsv(Output):
    """How a command prints its result, CSV included."""

    format: Annotated[
        Format, typer.Option(help="How to print the result.", rich_help_panel="Output")
    ] = Format.table  # type: ignore[assignment]


def notify(label: str, message: str) -> None:
    """One line to stderr, such as "error: ..."; markup in it is left alone."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    colour = {"error": "bold red", "failed": "red", "note": "yellow"}.get(label, "bold")
    console.print(f"[{colour}]{label}:[/]", end=" ")
    console.print(message_text(message), markup=False)


def end_with_failures(messages: Iterable[str], tolerate: bool = False) -> None:
    """Name each item that failed; exit with status 1 if there is one, unless it is tolerated."""
    failed = False
    for message in messages:
        notify("failed", message)
        failed = True
    if failed and not tolerate:
        raise typer.Exit(1)


class _BarOrLines(Progress):
    """A bar on a terminal; elsewhere, such as in the log of a job, a line a minute."""

    last_line = 0.0

    def start(self) -> None:
        self.last_line = self.get_time()
        super().start()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._line(task_id)

    def update(self, task_id: TaskID, **fields: Any) -> None:
        super().update(task_id, **fields)
        self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        if not self.disable or self.get_time() - self.last_line < LINE_EVERY:
            return
        self.last_line = self.get_time()
        task = self._tasks[task_id]
        text = f"{task.description}: {task.completed:,.0f}"
        if task.total is not None:
            text += f" of {task.total:,.0f}"
        if task.time_remaining is not None:
            text += f", about {task.time_remaining / 60:.0f} min left"
        notify("progress", text)


def progress() -> Progress:
    """A progress bar on stderr; a line a minute where stderr is not a terminal."""
    console = Console(stderr=True, emoji=False)
    return _BarOrLines(
        TextColumn("{task.description}", markup=False),  # it may be the name of a file
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def begins_anew() -> Iterator[None]:
    """Context for work that is lost if interrupted; the message says so."""
    with interruption_message("interrupted; nothing was written."):
        yield


@contextmanager
def goes_on() -> Iterator[None]:
    """Context for work that is kept if interrupted; the message says so."""
    with interruption_message("interrupted; run the same command again to continue the sweep."):
        yield


@contextmanager
def shows_results_so_far(out: Path | None) -> Iterator[None]:
    """Context for work whose results so far are printed and written to `out` if interrupted."""
    where = "" if out is None else f" and in {out}"
    with interruption_message(f"interrupted; the results so far are printed{where}."):
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Stopped):
                raise
            text = "interrupted before there was a result; nothing was written."
            raise KeyboardInterrupt(text) from None


@contextmanager
def interruption_message(message: str) -> Iterator[None]:
    """Context for work after whose interruption a message is printed."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.args = interrupt.args or (message,)
        raise


def announce(*work: tuple[float, str]) -> None:
    """Print how long a command is expected to take, before it starts.

    Args:
        work: expected seconds, and for what, such as "300 clips with 13 plans"; in order.
    """
    times = [f"{duration(seconds)} for {text}" for seconds, text in work if seconds > 0]
    if times:
        notify(
            "estimate",
            f"about {', then '.join(times)}. Ctrl-C ends it and prints the results so far.",
        )


@contextmanager
def sweep_progress(name: str, clips: int, rounds: int) -> Iterator[Callable[[str, int], None]]:
    """Bars for the clips and the timing of a sweep; yields the function that advances them."""
    with progress() as bar:
        tasks = {
            "clips": bar.add_task(printable(f"{name}: clips"), total=clips),
            "rounds": bar.add_task(printable(f"{name}: timing"), total=rounds),
        }
        yield lambda task, done: bar.advance(tasks[task], done)


def this_call() -> str:
    """The command as it was typed, quoted for a shell."""
    return shlex.join(["spectrim", *sys.argv[1:]])


def points_with_interval(difference: Mapping[str, float]) -> str:
    """A difference with its 95 % interval, in percentage points, such as "-5.8 ±4.7".

    With few clips the interval is skewed, and both ends are written: "-40.0 (-68.6 to +2.0)".
    """
    value, low, high = (difference[key] * 100 for key in ("value", "low", "high"))
    half_width = (high - low) / 2
    if abs((low + high) / 2 - value) <= MAX_SKEW * half_width:
        return f"{value:+.1f} ±{half_width:.1f}"
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
