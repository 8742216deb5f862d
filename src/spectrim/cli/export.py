"""`spectrim export`: a model as one ONNX file; a folder is deprecated, see `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.text import significant
from ..deploy.calibration import CALIBRATION_CLIPS, calibration_batches
from .options import Calibrate, ModelName, ModelSettings
from .output import Output, complain
from .plan_options import NewPlan
from .tables import print_text

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

EXAMPLE = "Example: spectrim export ast-digits --keep-rate 0.7 --out digits.onnx"


def command(
    model: ModelName,
    out: Annotated[
        Path,
        typer.Option(help="The ONNX file to write. For a folder, use spectrim convert."),
    ],
    settings: ModelSettings,
    new_plan: NewPlan,
    output: Output,
    input: Annotated[
        str, typer.Option(help="Input of the graph: waveform or features.")
    ] = "waveform",
    quantize: Annotated[
        str | None,
        typer.Option(
            help="int8 quantizes the linear layers of the blocks. Default: no quantization."
        ),
    ] = None,
    calibrate: Calibrate = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out-fold",
            help="Fold of --calibrate to exclude, for example your test fold. Repeatable.",
        ),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of clips of --calibrate, evenly spaced."),
    ] = CALIBRATION_CLIPS,
) -> None:
    """Export a model with its pruning to an ONNX file."""
    from ..common.errors import SpectrimError
    from ..common.files import make_folder
    from ..common.versions import RESULT_VERSION, versions
    from ..deploy.export import export, labels_path
    from ..deploy.onnx_model import load_onnx

    if calibrate is None and (leave_out or clips != CALIBRATION_CLIPS):
        raise SpectrimError("--leave-out-fold and --clips require --calibrate.")
    if is_folder := not _is_onnx_file(out):
        given = {"--quantize": quantize, "--calibrate": calibrate}
        for option in [name for name, value in given.items() if value is not None]:
            raise SpectrimError(f"{option} is for ONNX files: give an --out that ends in .onnx.")
    make_folder(out.parent)
    loaded = new_plan.apply(settings.classifier(model))
    if is_folder:
        complain("note", "export to a folder is deprecated: use spectrim convert.")
        _save_folder(loaded, model, out, output)
        return
    if calibrate is not None and quantize is None:
        raise SpectrimError("--calibrate requires --quantize int8.")
    calibration, config = None, loaded.config
    if calibrate is not None:
        calibration = calibration_batches(
            calibrate, config.seconds_to_read, clips, leave_out or (), config.sample_rate
        )
    name = Path(model).name
    export(loaded, out, input=input, quantize=quantize, calibration=calibration, name=name)
    metadata = load_onnx(out).metadata
    row = {
        "file": str(out),
        "labels_file": str(labels_path(out)),
        "model": model,
        "bytes": out.stat().st_size,
        "plan": metadata.plan,
        "frames": metadata.frames,
        "input": metadata.input,
        "quantization": metadata.quantization,
        "gmacs": metadata.macs / 1e9,
        "versions": versions("onnx", "onnxruntime"),
        "format_version": RESULT_VERSION,
    }
    text = (
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; {metadata.input} to {len(metadata.labels)} "
        f"classes; {loaded.plan}; {significant(metadata.macs / 1e9)} GMACs per clip of "
        f"{metadata.frames} frames; quantization {metadata.quantization}."
    )
    output.emit({"rows": [row]}, lambda: print_text(text))
    complain("note", f"to run it without PyTorch: spectrim tag street.wav --model {out}")


def _is_onnx_file(out: Path) -> bool:
    """Whether the suffix names ONNX; a name without a suffix of letters is that of a folder."""
    from ..common.errors import SpectrimError

    if out.suffix.lower() == ".onnx":
        return True
    suffix = out.suffix.removeprefix(".")
    if (suffix and not suffix.isdecimal() and not out.is_dir()) or out.is_file():
        raise SpectrimError(
            f"--out {out} is not an .onnx file. Give a name that ends in .onnx. For a folder, use "
            "spectrim convert."
        )
    return False


def _save_folder(loaded: SpectrogramTransformer, model: str, out: Path, output: Output) -> None:
    from ..common.versions import RESULT_VERSION, versions
    from ..models.build import macs
    from ..models.provenance import plan_record

    loaded.save(out)
    cost = macs(loaded) / 1e9
    row = {
        "folder": str(out),
        "model": model,
        "plan": plan_record(loaded.plan),
        "frames": loaded.config.frames,
        "gmacs": cost,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }
    text = (
        f"{out}: {len(loaded.labels)} classes; {loaded.plan}; {significant(cost)} GMACs per clip."
    )
    output.emit({"rows": [row]}, lambda: print_text(text))
    complain("note", f"to run it: spectrim tag street.wav --model {out}")
