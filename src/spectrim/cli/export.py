"""`spectrim export`: a model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Blocks, Frames, KeepRate, Load, Score, allow_own_code, blocks_of, load_model
from .output import TableOrJson, complain, print_json, stdout

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

EXAMPLE = "Example: spectrim export ast-digits --keep-rate 0.7 --out digits.onnx"
CALIBRATION_BATCH = 8


def command(
    model: Annotated[str, typer.Argument(help="Built in, hub id, folder or file.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    keep_rate: KeepRate = None,
    score: Score = "attention",
    blocks: Blocks = "3,6,9",
    input: Annotated[str, typer.Option(help="What the graph takes: waveform or features.")] = (
        "waveform"
    ),
    quantize: Annotated[str | None, typer.Option(help="int8: of the blocks' linear layers.")] = (
        None
    ),
    calibrate: Annotated[
        Path | None,
        typer.Option(help="With int8: a manifest or folder of typical clips to fix ranges by."),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=1, help="Of --calibrate, evenly chosen, at most.")
    ] = 128,
    frames: Frames = None,
    load: Load = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Write a model with its pruning inside as ONNX: it then runs without PyTorch."""
    from ..common.errors import SpectrimError
    from ..common.record import RESULT_VERSION, versions
    from ..deploy.export import export
    from ..deploy.onnx_metadata import read_metadata
    from ..models.registry import prune

    if out.suffix != ".onnx":
        raise SpectrimError(f"--out {out}: name a file that ends in .onnx.")
    loaded = load_model(model, "cpu", frames=frames, texts=load)
    if keep_rate is not None:
        allow_own_code(score)
        loaded = prune(loaded, keep_rate, score, blocks_of(blocks))
    calibration = None if calibrate is None else _batches(calibrate, clips)
    export(loaded, out, input=input, quantize=quantize, calibration=calibration)
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
        f"{loaded.plan}; {said.macs / 1e9:#.3g} GMACs a clip of {said.frames} frames; "
        f"quantization {said.quantization}.",
        markup=False,
    )
    complain("note", f"spectrim tag street.wav --model {out} runs it, without PyTorch.")


def _batches(source: Path, most: int) -> Iterable[list[np.ndarray]]:
    """Waveforms of at most `most` clips, evenly chosen; what cannot be read is left out."""
    from ..common.errors import SpectrimError
    from ..data.batches import batches
    from ..data.manifest import read_data

    clips = read_data(source).clips
    clips = clips[:: -(-len(clips) // most)]
    found = []
    for batch in batches(clips, CALIBRATION_BATCH):
        for at, message in batch.failures:
            complain("failed", f"{clips[at].path}, left out of the calibration: {message}")
        if batch.waveforms:
            found.append(batch.waveforms)
    if not found:
        raise SpectrimError(f"{source}: no clip to calibrate with could be read.")
    return found
