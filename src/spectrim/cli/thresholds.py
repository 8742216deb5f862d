"""`spectrim thresholds`: a threshold for each class, chosen on labelled clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..common.text import printable, shortened
from .output import Output, begins_anew, end_with_failures, notify, progress
from .plan_options import NewPlan
from .recordings import loaded_runner
from .shared_options import (
    Backend,
    BatchSize,
    ChannelOption,
    LoadingWithCompile,
    ModelName,
    data_option,
)
from .tables import print_table

EXAMPLE = "Example: spectrim thresholds ast-esc50 --data clips.csv --out thresholds.json"
SPLITS = ("valid", "validation")


def command(
    model: ModelName,
    data: Annotated[
        Path, data_option(help="Manifest of labelled clips. Do not use your test clips.")
    ],
    out: Annotated[
        Path, typer.Option(help="File that ends in .json or .csv, for spectrim tag --thresholds.")
    ],
    loading: LoadingWithCompile,
    new_plan: NewPlan,
    output: Output,
    backend: Backend = None,
    split: Annotated[
        str | None,
        data_option(
            help="Use only rows of this split. Default: valid (or validation), if there is one."
        ),
    ] = None,
    fold: Annotated[str | None, data_option(help="Use only rows of this fold.")] = None,
    channel: ChannelOption = "mix",
    precision: Annotated[
        float | None,
        typer.Option(
            help="Choose the threshold with the highest recall among those with at least this "
            "precision. Default: choose the threshold with the highest F1."
        ),
    ] = None,
    batch_size: BatchSize = 16,
) -> None:
    """Choose a threshold for each class of a model on labelled clips, and write them to a file."""
    from ..common.files import make_folder
    from ..data.manifest import read_data
    from ..evaluation.choice_of_clips import clips_to_evaluate
    from ..evaluation.class_thresholds import (
        check_precision,
        check_suffix,
        model_thresholds,
        save_thresholds,
    )
    from ..evaluation.training_clips import training_clips

    check_suffix(out)
    check_precision(precision)
    manifest = read_data(data).with_channel(channel)
    manifest = clips_to_evaluate(manifest, split, fold, default=SPLITS)
    name, runner = loaded_runner(model, backend, loading, new_plan)
    if warned := training_clips(name, manifest):
        notify("warning", f"{warned}. Probabilities are higher for training clips, so the "
                 "thresholds are too high for other clips. Use held-out clips.")  # fmt: skip
    with begins_anew(), progress() as bar:
        task = bar.add_task("clips", total=len(manifest.clips))
        result = model_thresholds(
            runner,
            manifest,
            precision=precision,
            batch_size=batch_size,
            tick=lambda clips: bar.advance(task, clips),
        )
    record = {
        "target": "F1" if precision is None else f"precision {precision:g}",
        "data": str(data),
        "clips": result.num_clips,
        "left_out": result.left_out,
        "failures": [{"path": path, "error": error} for path, error in result.failures],
    } | runner.context(name, batch_size)
    make_folder(out.parent)
    save_thresholds(out, result.rows, record)
    _note_left_out(result.left_out, out)
    output.emit(record | {"rows": result.rows}, lambda: _print(result.rows, result.num_clips))
    notify("written", str(out))
    end_with_failures(message for _, message in result.failures)


def _note_left_out(labels: Sequence[str], out: Path) -> None:
    if labels:
        count = f"{len(labels):,} classes are" if len(labels) > 1 else "a class is"
        notify(
            "note",
            f"{count} not in {out}, because no clip or every clip has it: {shortened(labels)}. "
            "In `spectrim tag`, --threshold applies to them.",
        )


def _print(rows: Sequence[dict[str, Any]], num_clips: int) -> None:
    lines = []
    for row in rows:
        if row["threshold"] is None:
            values = ["-"] * 4
        else:
            names = ("threshold", "f1", "precision", "recall")
            values = [
                f"{row[name]:.2f} ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})"
                for name in names
            ]
        lines.append([printable(row["label"]), *values, str(row["positives"])])
    caption = (
        f"{num_clips:,} clips; 95 % intervals in brackets. F1, precision and recall are measured "
        "on the clips that the thresholds were chosen on. Expect lower values on other clips."
    )
    if any(row["threshold"] is None for row in rows):
        caption += "\n-: no threshold reaches the precision, so the class is never detected."
    print_table(["label", "threshold", "F1", "precision", "recall", "clips"], lines, caption)
