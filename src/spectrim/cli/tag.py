"""`spectrim tag`: labels of sound files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.errors import SpectrimError
from .events import EventOptions, report_events
from .output import OutputWithCsv, end_with_failures
from .plan_options import NewPlan
from .recordings import (
    TABLE_OUT_HELP,
    EngineName,
    EngineOption,
    Hop,
    Inputs,
    ModelOrOnnx,
    TableJob,
    Tolerate,
    Workers,
    end_with_unreadable,
    engine_of,
    loaded_runner,
    print_summary,
)
from .shared_options import Backend, BatchSize, ChannelOption, LoadingWithCompile, output_option
from .tables import print_table

if TYPE_CHECKING:
    from ..deploy.recordings.input_recordings import Recording
    from ..deploy.recordings.table_layouts import TagTable
    from ..deploy.tag import Failure

DEFAULT_THRESHOLD = 0.5  # as `deploy.thresholds.DEFAULT_THRESHOLD`, whose module imports numpy
SEPARATOR = "; "  # labels contain commas, such as "Vehicle horn, car horn, honking"
TOP = 5
EXAMPLE = "Example: spectrim tag street.wav --keep-rate 0.7 --top 3 --format json"


def command(
    files: Inputs,
    loading: LoadingWithCompile,
    new_plan: NewPlan,
    events: EventOptions,
    output: OutputWithCsv,
    model: ModelOrOnnx = None,
    backend: Backend = None,
    batch_size: BatchSize = 8,
    channel: ChannelOption = "mix",
    top: Annotated[
        int | None, typer.Option(min=1, help=f"Number of labels per row. Default: {TOP}.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Minimum probability of a label, from 0 to 1. Default: 0; with --events: "
            f"{DEFAULT_THRESHOLD}.",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            help="CSV or JSON file with a threshold for each label, as `spectrim thresholds` "
            "writes it. --threshold applies to labels that it does not contain."
        ),
    ] = None,
    hop: Hop = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="One row per file: the maximum or the mean of each probability over the windows. "
            "Default: one row per window."
        ),
    ] = None,
    workers: Workers = None,
    engine: EngineOption = EngineName.local,
    out: Annotated[
        Path | None,
        output_option(
            help=f"{TABLE_OUT_HELP} With --events, also .txt (Audacity label track) or "
            ".selections.txt (Raven selection table), one file per recording: 'labels/{name}.txt'."
        ),
    ] = None,
    wide: Annotated[
        bool,
        output_option("--wide", help="With --out: one row per window and one column per class."),
    ] = False,
    tolerate_failures: Tolerate = False,
) -> None:
    """Print the most probable labels of sound files, or their events with --events.

    Long files have one result for each window.
    With --out, the results are written to a table, file by file.
    """
    from ..deploy.event_files import event_text_of
    from ..deploy.read_thresholds import class_thresholds, read_thresholds
    from ..deploy.recordings.input_recordings import recordings_of
    from ..deploy.recordings.table_formats import table_format_of
    from ..deploy.recordings.table_layouts import EventTable, TagTable, WideTable
    from ..deploy.tag import event_hop

    events.check(
        out, {"--top": top is not None, "--aggregate": aggregate is not None, "--wide": wide}
    )
    if wide and out is None:
        raise SpectrimError("--wide requires --out, such as --out tags.parquet.")
    if wide and (top, threshold, thresholds) != (None, None, None):
        raise SpectrimError("--wide writes all classes: leave out --top and --threshold(s).")
    if out is not None:
        if event_text_of(out) is None:
            table_format_of(out)  # before the model is loaded
        if output.format.value == "csv":
            raise SpectrimError(f"--format csv prints rows, but --out writes them to {out}.")
    rows_engine = engine_of(engine, out)
    by_label = {} if thresholds is None else read_thresholds(thresholds)
    if threshold is None:
        threshold = DEFAULT_THRESHOLD if events.events else 0.0
    events.rule(threshold)  # raises for values out of range before the model is loaded
    name, runner = loaded_runner(model, backend, loading, new_plan)
    minimum = class_thresholds(by_label, runner.labels, threshold, str(thresholds))
    recordings = recordings_of(files)
    if events.events:
        job = TableJob(runner, name, event_hop(runner, hop), batch_size, workers, rows_engine)
        event_table = EventTable(runner, channel, events.rule(minimum))
        report_events(job, event_table, recordings, events, out, output, tolerate_failures)
        return
    labels = TagTable(runner, aggregate, channel, top or TOP, minimum)
    job = TableJob(runner, name, hop, batch_size, workers, rows_engine)
    if out is None:
        rows, failures = _tagged(job, labels, recordings)
        _emit(rows, failures, job.context(), output)
        loading.note_compilation(job.context().get("compile_s", 0.0))
        end_with_failures((message for _, message in failures), tolerate_failures)
    else:
        table = WideTable(runner, aggregate, channel) if wide else labels
        summary = job.write(table, recordings, out, "tagging")
        print_summary(summary, job.context(), output)
        loading.note_compilation(job.context().get("compile_s", 0.0))
        end_with_unreadable(summary.failures, tolerate_failures, out)


def _tagged(
    job: TableJob, table: TagTable, recordings: Sequence[Recording]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Rows as `deploy.tag.tag` returns them, and the recordings that failed."""
    from ..deploy.tag import rows_of

    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for _, result in job.outputs(table, recordings, "tagging"):
        if result.error is not None:
            failures.append((result.name, str(result.error)))
        rows += rows_of(
            result, job.runner.labels, table.top, table.thresholds, table.one_row, table.channel
        )
    return rows, failures


def _emit(
    rows: list[dict[str, Any]],
    failures: list[Failure],
    context: dict[str, Any],
    output: OutputWithCsv,
) -> None:
    failed = [{"file": name, "error": message} for name, message in failures]
    output.emit(
        {"rows": rows, "failures": failed} | context,
        lambda: _print(rows),
        ["file", "start", "end", "label", "probability"],
        (
            [row["file"], row["start"], row["end"], label["label"], label["probability"]]
            for row in rows
            for label in row["labels"]
        ),
    )


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    lines = [
        [
            row["file"],
            f"{row['start']:.2f}",
            f"{row['end']:.2f}",
            SEPARATOR.join(
                f"{label['label']} {label['probability']:.2f}" for label in row["labels"]
            ),
        ]
        for row in rows
    ]
    print_table(["file", "start s", "end s", "labels"], lines, wrapped={"labels": SEPARATOR})
