"""`spectrim export`: a model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..common.text import significant
from .calibration import CALIBRATION_CLIPS, Calibrate, calibration_clips
from .options import (
    BlocksOrNone,
    Frames,
    KeepRate,
    Load,
    ReductionOrNone,
    ScoreOrNone,
    load_model,
    pruned_as_told,
)
from .output import TableOrJson, complain, print_json, stdout

EXAMPLE = "Example: spectrim export ast-digits --keep-rate 0.7 --out digits.onnx"


def command(
    model: Annotated[str, typer.Argument(help="Built in, hub id, folder or file.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    keep_rate: KeepRate = None,
    score: ScoreOrNone = None,
    blocks: BlocksOrNone = None,
    reduction: ReductionOrNone = None,
    input: Annotated[str, typer.Option(help="What the graph takes: waveform or features.")] = (
        "waveform"
    ),
    quantize: Annotated[str | None, typer.Option(help="int8: of the blocks' linear layers.")] = (
        None
    ),
    calibrate: Calibrate = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out-fold", help="A fold of --calibrate that is kept for testing; repeatable."
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=1, help="Of --calibrate, evenly chosen, at most.")
    ] = CALIBRATION_CLIPS,
    frames: Frames = None,
    load: Load = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Write a model with its pruning inside as ONNX: it then runs without PyTorch."""
    from ..common.errors import SpectrimError
    from ..common.files import make_folder
    from ..common.versions import RESULT_VERSION, versions
    from ..deploy.export import export
    from ..deploy.onnx_metadata import read_metadata
    from ..evaluation.predict import window_seconds

    if out.suffix != ".onnx":
        raise SpectrimError(f"--out {out}: name a file that ends in .onnx.")
    if calibrate is None and (leave_out or clips != CALIBRATION_CLIPS):
        raise SpectrimError("--leave-out-fold and --clips go with --calibrate, which is not given.")
    make_folder(out.parent)
    loaded = load_model(model, "cpu", frames=frames, texts=load)
    loaded = pruned_as_told(loaded, keep_rate, score, blocks, reduction)
    if calibrate is not None and quantize is None:
        raise SpectrimError("--calibrate is for --quantize int8, which is not given.")
    calibration = None
    if calibrate is not None:
        calibration = calibration_clips(calibrate, window_seconds(loaded), clips, leave_out)
    name = Path(model).name
    export(loaded, out, input=input, quantize=quantize, calibration=calibration, name=name)
    said = read_metadata(out)
    if json or format is TableOrJson.json:
        row = {
            "file": str(out),
            "model": model,
            "bytes": out.stat().st_size,
            "plan": said.plan,
            "frames": said.frames,
            "input": said.input,
            "quantization": said.quantization,
            "gmacs": said.macs / 1e9,
            "versions": versions("onnx", "onnxruntime"),
            "format_version": RESULT_VERSION,
        }
        print_json({"rows": [row]})
        return
    stdout().print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; {said.input} to {len(said.labels)} classes; "
        f"{loaded.plan}; {significant(said.macs / 1e9)} GMACs a clip of {said.frames} frames; "
        f"quantization {said.quantization}.",
        markup=False,
    )
    complain("note", f"spectrim tag street.wav --model {out} runs it, without PyTorch.")
