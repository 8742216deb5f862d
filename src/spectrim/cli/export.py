"""`spectrim export`: a model as one ONNX file; a folder is deprecated, see `convert`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.text import significant
from ..deploy.calibration import CALIBRATION_CLIPS, calibration_batches
from .output import Output, notify
from .plan_options import NewPlan
from .shared_options import Calibrate, ModelName, ModelSettings
from .tables import print_text

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

EXAMPLE = "Example: spectrim export ast-digits --keep-rate 0.7 --out digits.onnx"


class ExportFormat(StrEnum):
    """The format of the file, or, as in other commands, how the result is printed."""

    onnx = "onnx"
    sherpa_onnx = "sherpa-onnx"
    table = "table"
    json = "json"


@dataclass(frozen=True)
class ExportOutput(Output):
    """The format of the file, and how the result is printed."""

    format: Annotated[
        ExportFormat,
        typer.Option(
            help="onnx or sherpa-onnx: format of the file (sherpa-onnx: a CED model for audio "
            "tagging with sherpa-onnx, and its labels as CSV). table or json: format of the "
            "printed result.",
            rich_help_panel="Output",
        ),
    ] = ExportFormat.onnx  # type: ignore[assignment]


def command(
    model: ModelName,
    out: Annotated[
        Path,
        typer.Option(help="The ONNX file to write. For a folder, use spectrim convert."),
    ],
    settings: ModelSettings,
    new_plan: NewPlan,
    output: ExportOutput,
    input: Annotated[
        str | None, typer.Option(help="Input of the graph: waveform (default) or features.")
    ] = None,
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
    from ..common.versions import RESULT_VERSION, package_versions
    from ..deploy.export import export, labels_path
    from ..deploy.onnx_model import load_onnx
    from ..integrations.sherpa_onnx import export_sherpa_onnx, labels_csv

    for_sherpa = output.format.value == ExportFormat.sherpa_onnx
    if for_sherpa and (input is not None or calibrate is not None):
        raise SpectrimError(
            "--format sherpa-onnx does not support --input and --calibrate: leave out --input and "
            "--calibrate."
        )
    if calibrate is None and (leave_out or clips != CALIBRATION_CLIPS):
        raise SpectrimError("--leave-out-fold and --clips require --calibrate.")
    if is_folder := not _is_onnx_file(out):
        given = {"--quantize": quantize, "--calibrate": calibrate}
        given |= {"--format sherpa-onnx": "given" if for_sherpa else None}
        for option in [name for name, value in given.items() if value is not None]:
            raise SpectrimError(
                f"{option} requires an ONNX file. Pass an --out that ends in .onnx."
            )
    make_folder(out.parent)
    loaded = new_plan.apply(settings.classifier(model))
    if is_folder:
        notify("note", "export to a folder is deprecated: use spectrim convert.")
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
    if for_sherpa:
        export_sherpa_onnx(loaded, out, quantize=quantize, name=name)
    else:
        input = input or "waveform"
        export(loaded, out, input=input, quantize=quantize, calibration=calibration, name=name)
    labels_file = labels_csv(out) if for_sherpa else labels_path(out)
    metadata = load_onnx(out).metadata
    row = {
        "file": str(out),
        "labels_file": str(labels_file),
        "model": model,
        "bytes": out.stat().st_size,
        "plan": metadata.plan,
        "frames": metadata.frames,
        "input": metadata.input,
        "quantization": metadata.quantization,
        "gmacs": metadata.macs / 1e9,
        "versions": package_versions("onnx", "onnxruntime"),
        "format_version": RESULT_VERSION,
    }
    text = (
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; {metadata.input} to {len(metadata.labels)} "
        f"classes; {loaded.plan}; {significant(metadata.macs / 1e9)} GMACs per clip of "
        f"{metadata.frames} frames; quantization {metadata.quantization}."
    )
    output.emit({"rows": [row]}, lambda: print_text(text))
    if for_sherpa:
        text = f"sherpa-onnx-offline-audio-tagging --ced-model={out} --labels={labels_file} dog.wav"
    else:
        text = f"spectrim tag street.wav --model {out}"
    notify("note", f"to run it without PyTorch: {text}")


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
    from ..common.versions import RESULT_VERSION, package_versions
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
        "versions": package_versions(),
        "format_version": RESULT_VERSION,
    }
    text = (
        f"{out}: {len(loaded.labels)} classes; {loaded.plan}; {significant(cost)} GMACs per clip."
    )
    output.emit({"rows": [row]}, lambda: print_text(text))
    notify("note", f"to run it: spectrim tag street.wav --model {out}")
