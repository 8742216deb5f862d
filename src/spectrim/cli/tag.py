"""`spectrim tag`: labels of sound files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    DEFAULT_MODEL,
    Backend,
    BatchSize,
    ChannelOption,
    LoadingWithCompile,
    is_onnx,
    model_option,
    refuse_for_onnx,
)
from .output import OutputWithCsv, complain, end_with_failures, progress
from .plan_options import NewPlan
from .tables import print_table

if TYPE_CHECKING:
    from ..deploy.runner import Runner

SEPARATOR = "; "  # labels contain commas, such as "Vehicle horn, car horn, honking"
EXAMPLE = "Example: spectrim tag street.wav --keep-rate 0.7 --top 3 --format json"


def command(
    files: Annotated[list[Path], typer.Argument(help="Sound files or folders of them.")],
    loading: LoadingWithCompile,
    new_plan: NewPlan,
    output: OutputWithCsv,
    model: Annotated[
        str | None,
        model_option(
            help="Built-in name, Hugging Face hub id, folder or file; an .onnx file runs without "
            f"PyTorch. Default: {DEFAULT_MODEL}."
        ),
    ] = None,
    backend: Backend = None,
    batch_size: BatchSize = 8,
    channel: ChannelOption = "mix",
    top: Annotated[int, typer.Option(min=1, help="Number of labels per row.")] = 5,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum probability of a label, from 0 to 1.")
    ] = 0.0,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds between the starts of two windows. Default: one window."),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="One row per file: the maximum or the mean of each probability over the windows. "
            "Default: one row per window."
        ),
    ] = None,
) -> None:
    """Print the most probable labels of sound files, for each window of a long file."""
    from ..common.errors import SpectrimError
    from ..data.sound_files import sound_files
    from ..deploy.tag import Failure, tag

    if model is None:
        model = DEFAULT_MODEL
        complain("note", f"no --model given; using the built-in {model}.")
    runner: Runner
    if is_onnx(model):
        refuse_for_onnx(new_plan.options())
        runner = loading.onnx_model(model, backend)
    elif backend is not None:
        raise SpectrimError(f"--backend is for ONNX files; {model} runs with PyTorch.")
    else:
        from ..deploy.torch_runner import TorchRunner

        loaded = new_plan.apply(loading.classifier(model))
        if loading.compile:
            loaded.compile()
        runner = TorchRunner(loaded)
    failures: list[Failure] = []
    sounds: list[Path] = []
    for file in files:
        try:
            sounds.extend(sound_files(file) if file.is_dir() else [file])
        except SpectrimError as error:
            failures.append((str(file), str(error)))
    with progress() as bar:
        task = bar.add_task("tagging", total=_seconds(sounds))
        rows = tag(
            runner,
            sounds,
            top=top,
            threshold=threshold,
            hop=hop,
            one_row=aggregate,
            batch_size=batch_size,
            channel=channel,
            failures=failures,
            tick=lambda name, seconds: bar.advance(task, seconds),
        )
    context = runner.context(model, batch_size)
    loading.note_compilation(context.get("compile_s", 0.0))
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
    end_with_failures(message for _, message in failures)


def _seconds(sounds: list[Path]) -> float | None:
    """Seconds of all sounds together; None if the length of one is not known."""
    from ..audio.decode import duration_of

    lengths = [duration_of(sound) for sound in sounds]
    return None if None in lengths else sum(length or 0 for length in lengths)


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
