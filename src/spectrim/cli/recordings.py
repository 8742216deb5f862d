"""What `tag` and `embed` share: options, progress, and what they print about a table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..common.errors import SpectrimError
from ..common.text import counted, duration
from .output import LINE_EVERY, Output, interruption_message, notify
from .plan_options import NewPlan
from .shared_options import (
    DEFAULT_MODEL,
    LoadingWithCompile,
    is_onnx,
    model_option,
    output_option,
    refuse_for_onnx,
)
from .tables import print_text

if TYPE_CHECKING:
    from ..deploy.recordings.input_recordings import Recording
    from ..deploy.recordings.job import Engine, Summary
    from ..deploy.recordings.progress import JobProgress
    from ..deploy.recordings.table_layouts import Table
    from ..deploy.runner import Runner
    from ..deploy.windowed import SoundOutput

SHOWN_FAILURES = 20

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        readable=False,  # one file that cannot be read does not stop the others
        help="Sound files, folders, quoted patterns such as 'field/**/*.wav', manifests, text "
        "files with one path per line, or data sets of Hugging Face datasets (Parquet files, "
        "folders that save_to_disk wrote).",
    ),
]
TABLE_OUT_HELP = (
    "Write a table to a file that ends in .csv, .jsonl or .parquet. Run the same command again to "
    "continue after an interruption."
)
Tolerate = Annotated[
    bool,
    output_option(
        "--tolerate-failures", help="Exit with status 0 even if recordings could not be read."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Decoding threads. Default: one per core, at most 8."),
]


class EngineName(StrEnum):
    """Where a table is computed."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    EngineName,
    output_option(
        help="With --out: local computes the table in this process; ray computes it on the Ray "
        "cluster in RAY_ADDRESS, or on one that it starts on this machine."
    ),
]
ModelOrOnnx = Annotated[
    str | None,
    model_option(
        help="Built-in name, Hugging Face hub id, folder or file; an .onnx file runs without "
        f"PyTorch. Default: {DEFAULT_MODEL}."
    ),
]
Hop = Annotated[
    float | None,
    typer.Option(
        help="Seconds between the starts of two windows. Default: the length of a window."
    ),
]


def loaded_runner(
    model: str | None,
    backend: str | None,
    loading: LoadingWithCompile,
    new_plan: NewPlan,
    needs_classes: bool = True,
) -> tuple[str, Runner]:
    """The name of the model and the model, ready to run, on PyTorch or as an exported file."""
    if model is None:
        model = DEFAULT_MODEL
        notify("note", f"no --model given; using the built-in {model}.")
    if is_onnx(model):
        refuse_for_onnx(new_plan.options())
        return model, loading.onnx_model(model, backend)
    if backend is not None:
        raise SpectrimError(f"--backend is for ONNX files; {model} runs with PyTorch.")
    from ..deploy.by_length import torch_runner

    load = loading.classifier_of_any_length if needs_classes else loading.model_of_any_length
    loaded = new_plan.apply(load(model))
    if loading.compile:
        loaded.compile()
    return model, torch_runner(loaded)


def engine_of(name: EngineName, out: Path | None) -> Engine | None:
    """The engine that --engine names; None: compute in this process."""
    if name == EngineName.local:
        return None
    if out is None:
        raise SpectrimError("--engine ray requires --out, such as --out tags.parquet.")
    if not os.environ.get("RAY_ADDRESS"):
        # Ray reads this variable on import. A cluster that it starts then listens on 127.0.0.1
        # only, on every system. By default, it listens on all addresses.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ..integrations.ray import rows_with_ray

    return rows_with_ray


@contextmanager
def job_progress(description: str) -> Iterator[JobProgress]:
    """A line on stderr that says how far a job is; a line a minute where it is not a terminal."""
    from ..deploy.recordings.progress import JobProgress

    console = Console(stderr=True, emoji=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(description, total=1.0, text="")
    last_line = time.monotonic()

    def changed() -> None:
        nonlocal last_line
        if console.is_terminal:
            bar.update(task, completed=state.fraction, text=state.text())
        elif time.monotonic() - last_line >= LINE_EVERY:
            last_line = time.monotonic()
            notify("progress", f"{description}: {state.text()}")

    state = JobProgress(changed)
    with bar:
        yield state


@dataclass(frozen=True)
class TableJob:
    """How recordings are computed.

    Attributes:
        runner: the model; name: its name. The others are the options of the same names.
        engine: computes tables; None: this process.
    """

    runner: Runner
    name: str
    hop: float | None
    batch_size: int
    workers: int | None
    engine: Engine | None = None

    def context(self) -> dict[str, Any]:
        """How results were computed."""
        return self.runner.context(self.name, self.batch_size)

    def outputs(
        self, table: Table, recordings: Sequence[Recording], verb: str
    ) -> Iterator[tuple[Recording, SoundOutput]]:
        """The outputs of the model, with progress on stderr."""
        from ..deploy.recordings.job import outputs_of

        with job_progress(verb) as watcher:
            yield from outputs_of(
                table,
                recordings,
                hop=self.hop,
                batch_size=self.batch_size,
                workers=self.workers,
                watcher=watcher,
            )
        self._note_short_clips(watcher)

    def write(self, table: Table, recordings: Sequence[Recording], out: Path, verb: str) -> Summary:
        """Write a table, or continue it, with progress and notes on stderr."""
        from ..deploy.recordings.job import rows_of_recordings, write_table

        begun = time.monotonic()
        message = f"interrupted; run the same command again to continue {out}."
        with interruption_message(message), job_progress(verb) as watcher:
            summary = write_table(
                table,
                recordings,
                out,
                model=self.name,
                hop=self.hop,
                batch_size=self.batch_size,
                workers=self.workers,
                watcher=watcher,
                note=lambda text: notify("note", text),
                engine=self.engine or rows_of_recordings,
            )
        if summary.num_repeated:
            notify(
                "note",
                f"skipped {counted(summary.num_repeated, 'repeated recording')}. The table "
                "contains each recording once.",
            )
        self._note_short_clips(watcher)
        if watcher.num_done:
            notify("note", f"{verb} took {duration(time.monotonic() - begun)}: {watcher.text()}.")
        return summary

    def _note_short_clips(self, watcher: JobProgress) -> None:
        """Print a note if the clips are much shorter than the window."""
        from ..deploy.torch_runner import TorchRunner

        if isinstance(self.runner, TorchRunner):
            from ..deploy.by_length import length_of_most, short_clips_note

            seconds = length_of_most(watcher.windows)
            # A window of a long recording adds no more than a hop, so it says nothing about clips.
            is_short = self.hop is None or seconds < self.hop
            if is_short and (text := short_clips_note(self.runner.model, seconds)):
                notify("note", text)


def print_summary(summary: Summary, context: dict[str, Any], output: Output) -> None:
    """Print what is in the table."""
    from ..deploy.recordings.progress import audio_length

    num_failed = len(summary.failures)
    row = {
        "out": str(summary.out),
        "files": summary.num_recordings,
        "files_done_before": summary.num_resumed,
        "files_failed": num_failed,
        "audio_seconds": round(summary.seconds, 3),
    }
    failures = [{"file": name, "error": message} for name, message in summary.failures]
    text = (
        f"{summary.out}: {counted(summary.num_recordings, 'file')}, "
        f"{audio_length(summary.seconds)} of audio; {num_failed:,} failed."
    )
    output.emit({"rows": [row], "failures": failures} | context, lambda: print_text(text))


def end_with_unreadable(failures: Sequence[tuple[str, str]], tolerate: bool, out: Path) -> None:
    """Name the first recordings that failed; exit with status 1 unless failures are tolerated."""
    for _, message in failures[:SHOWN_FAILURES]:
        notify("failed", message)
    if len(failures) > SHOWN_FAILURES:
        rest = len(failures) - SHOWN_FAILURES
        notify("failed", f"{rest:,} more; {out} lists all with status failed.")
    if failures and not tolerate:
        raise typer.Exit(1)
