"""`spectrim tag`: labels of sound files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    DEFAULT_MODEL,
    Backend,
    BatchSize,
    BlocksOrNone,
    Device,
    Dtype,
    Frames,
    KeepRate,
    Load,
    ReductionOrNone,
    ScoreOrNone,
    Threads,
    fixed_in_file,
    is_onnx,
    load_model,
    load_onnx_model,
    pruned_as_told,
)
from .output import Format, complain, print_csv, print_json, print_table, progress

if TYPE_CHECKING:
    from ..deploy.runner import Runner

EXAMPLE = "Example: spectrim tag street.wav --keep-rate 0.7 --top 3 --format json"


def command(
    files: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    model: Annotated[
        str | None,
        typer.Option(help="Built in, hub id, folder or file; .onnx runs without PyTorch."),
    ] = None,
    keep_rate: KeepRate = None,
    score: ScoreOrNone = None,
    blocks: BlocksOrNone = None,
    reduction: ReductionOrNone = None,
    top: Annotated[int, typer.Option(min=1, help="Labels a row.")] = 5,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least probability.")] = 0.0,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from window to window; else a window's length.")
    ] = None,
    one_row: Annotated[
        str | None, typer.Option(help="One row a file: 'maximum' or 'mean' of its windows.")
    ] = None,
    format: Annotated[Format, typer.Option()] = Format.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    frames: Frames = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    backend: Backend = None,
) -> None:
    """Print the most probable labels of sound files; long ones window by window."""
    from ..common.errors import SpectrimError
    from ..data.manifest import sound_files
    from ..deploy.tag import Failure, tag

    if model is None:
        model = DEFAULT_MODEL
        complain("note", f"no --model given; tagging with the built-in {model}.")
    runner: Runner
    if is_onnx(model):
        fixed_in_file({"--keep-rate": keep_rate, "--score": score, "--blocks": blocks,
                       "--reduction": reduction, "--frames": frames, "--load": load})  # fmt: skip
        runner = load_onnx_model(model, backend, threads, device, dtype)
    elif backend is not None:
        raise SpectrimError(f"--backend is for ONNX files; {model} runs in torch.")
    else:
        from ..deploy.torch_runner import TorchRunner

        loaded = load_model(model, device, dtype, threads, frames, load)
        runner = TorchRunner(pruned_as_told(loaded, keep_rate, score, blocks, reduction))
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
            one_row=one_row,
            batch_size=batch_size,
            failures=failures,
            tick=lambda name, seconds: bar.advance(task, seconds),
        )
    _print(
        rows,
        Format.json if json else format,
        {"rows": rows, "failures": _records(failures)} | runner.context(model, batch_size),
    )
    for _, message in failures:
        complain("failed", message)
    if failures:
        raise typer.Exit(1)


def _seconds(sounds: list[Path]) -> float | None:
    from ..audio.decode import duration_of

    lengths = [duration_of(sound) for sound in sounds]
    return None if None in lengths else sum(length or 0 for length in lengths)


def _records(failures: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"file": name, "error": message} for name, message in failures]


def _print(rows: list[dict[str, Any]], format: Format, whole: dict[str, Any]) -> None:
    if format is Format.json:
        print_json(whole)
    elif format is Format.csv:
        print_csv(
            ["file", "start", "end", "label", "probability"],
            [
                [row["file"], row["start"], row["end"], label["label"], label["probability"]]
                for row in rows
                for label in row["labels"]
            ],
        )
    elif rows:
        print_table(
            ["file", "start s", "end s", "labels"],
            [
                [
                    row["file"],
                    f"{row['start']:.2f}",
                    f"{row['end']:.2f}",
                    ", ".join(f"{e['label']} {e['probability']:.2f}" for e in row["labels"]),
                ]
                for row in rows
            ],
            left=["labels"],
        )
