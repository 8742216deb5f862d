"""What commands print: results to stdout, all else to stderr."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

PIPED_WIDTH = 160  # columns where stdout is no terminal: nothing is folded for a file
LINE_EVERY = 60  # seconds between lines of progress where stderr is no terminal
SKEW = 0.1  # of its half width: so far an interval may lie askew and still be told by a ±
WHOLE = 8  # columns: a cell of no more is never folded


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class TableOrJson(StrEnum):
    """How a result is printed that has no form of comma-separated rows."""

    table = "table"
    json = "json"


def stdout() -> Console:
    """The console of results."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, emoji=False)


def complain(kind: str, message: str) -> None:
    """One line to stderr, such as "error: ..."; markup in it is left alone."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    colour = {"error": "bold red", "failed": "red", "note": "yellow"}.get(kind, "bold")
    console.print(f"[{colour}]{kind}:[/]", end=" ")
    console.print(message, markup=False)


class _BarOrLines(Progress):
    """A bar on a terminal; elsewhere, as in the log of a job, a line a minute."""

    told = 0.0

    def start(self) -> None:
        self.told = self.get_time()
        super().start()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._line(task_id)

    def update(self, task_id: TaskID, **fields: Any) -> None:
        super().update(task_id, **fields)
        self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        if not self.disable or self.get_time() - self.told < LINE_EVERY:
            return
        self.told = self.get_time()
        task = self._tasks[task_id]
        text = f"{task.description}: {task.completed:,.0f}"
        if task.total is not None:
            text += f" of {task.total:,.0f}"
        if task.time_remaining is not None:
            text += f", about {task.time_remaining / 60:.0f} min left"
        complain("progress", text)


def progress() -> Progress:
    """A progress bar on stderr; where that is no terminal, a line a minute."""
    console = Console(stderr=True, emoji=False)
    return _BarOrLines(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def begins_anew() -> Iterator[None]:
    """Around work that is not kept when it is interrupted: says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written.") from None


@contextmanager
def goes_on() -> Iterator[None]:
    """Around work that is kept when it is interrupted: says so."""
    try:
        yield
    except KeyboardInterrupt:
        again = "interrupted; the sweep goes on when the same command is given again."
        raise KeyboardInterrupt(again) from None


@contextmanager
def sweep_progress(name: str, clips: int, rounds: int) -> Iterator[Callable[[str, int], None]]:
    """Bars for the clips and the timing of a sweep; yields what advances them."""
    with progress() as bar:
        tasks = {
            "clips": bar.add_task(f"{name}: clips", total=clips),
            "rounds": bar.add_task(f"{name}: timing", total=rounds),
        }
        yield lambda what, done: bar.advance(tasks[what], done)


def this_call() -> str:
    """What was typed, as a shell takes it, for the record."""
    return shlex.join(["spectrim", *sys.argv[1:]])


def points(difference: Mapping[str, float]) -> str:
    """A difference with its 95 % interval, in points, such as "-5.8 ±4.7".

    On few clips the interval lies askew, and is written out: "-40.0 (-68.6 to +2.0)".
    """
    value, low, high = (difference[key] * 100 for key in ("value", "low", "high"))
    half = (high - low) / 2
    if abs((low + high) / 2 - value) <= SKEW * half:
        return f"{value:+.1f} ±{half:.1f}"
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def print_json(value: Any) -> None:
    """JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Comma-separated rows to stdout."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str] | None],
    caption: str = "",
    left: Sequence[str] = (),
) -> None:
    """A table to stdout; None draws a line; the first column and those in `left` align left."""
    # One blank between columns, by the box: wide tables still fit 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for at, name in enumerate(columns):
        aligned = at == 0 or name in left
        # On narrow terminals long cells fold, so that none loses its end; numbers stay whole.
        longest = max((len(row[at]) for row in rows if row is not None), default=0)
        table.add_column(
            name,
            justify="left" if aligned else "right",
            overflow="fold",
            min_width=min(max(longest, len(name)), WHOLE),
        )
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*row)
    console = stdout()
    console.print(table, markup=False)
    if caption:
        console.print(caption, markup=False)
