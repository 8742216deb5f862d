"""`spectrim embed`: embeddings of recordings in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Output
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
from .shared_options import Backend, BatchSize, ChannelOption, LoadingWithCompile

EXAMPLE = "Example: spectrim embed recordings --out embeddings.parquet"


def command(
    files: Inputs,
    out: Annotated[Path, typer.Option(help=TABLE_OUT_HELP)],
    loading: LoadingWithCompile,
    new_plan: NewPlan,
    output: Output,
    model: ModelOrOnnx = None,
    backend: Backend = None,
    batch_size: BatchSize = 8,
    channel: ChannelOption = "mix",
    hop: Hop = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="One row per file: the maximum or the mean of each value over the windows. "
            "Default: one row per window."
        ),
    ] = None,
    workers: Workers = None,
    engine: EngineOption = EngineName.local,
    tolerate_failures: Tolerate = False,
) -> None:
    """Write embeddings of recordings to a table: the input of the model's linear head."""
    from ..deploy.recordings.input_recordings import recordings_of
    from ..deploy.recordings.table_formats import table_format_of
    from ..deploy.recordings.table_layouts import EmbeddingTable

    table_format_of(out)  # before the model is loaded
    rows_engine = engine_of(engine, out)
    name, runner = loaded_runner(model, backend, loading, new_plan, needs_classes=False)
    table = EmbeddingTable(runner, aggregate, channel)
    job = TableJob(runner, name, hop, batch_size, workers, rows_engine)
    summary = job.write(table, recordings_of(files), out, "embedding")
    print_summary(summary, job.context(), output)
    end_with_unreadable(summary.failures, tolerate_failures, out)
