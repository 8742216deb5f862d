"""`spectrim bench`: measured speed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .calibration import Calibrate, calibration_clips
from .options import (
    Blocks,
    Dtype,
    Frames,
    Load,
    Reduction,
    Score,
    Threads,
    allow_trusted_code,
    blocks_of,
    listed,
    load_model,
    rates_of,
)
from .output import TableOrJson, begins_anew, complain, print_json, print_table, progress

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

EXAMPLE = "Example: spectrim bench --model ast-base --against transformers --keep-rates 1.0,0.5"


def command(
    model: Annotated[
        str, typer.Option(help="A preset (random weights), built in, hub id, folder or file.")
    ] = "ast-base",
    against: Annotated[str | None, typer.Option(help="transformers: its AST, same shape.")] = None,
    keep_rates: Annotated[str, typer.Option(help="Comma-separated.")] = "1.0,0.7,0.5",
    score: Score = "attention",
    blocks: Blocks = "3,6,9",
    reduction: Reduction = "keep-top",
    backends: Annotated[
        str | None, typer.Option(help="Of torch,onnxruntime,openvino; else all installed.")
    ] = None,
    quantize: Annotated[str, typer.Option(help="none, int8, or none,int8.")] = "none",
    calibrate: Calibrate = None,
    batch_sizes: Annotated[str, typer.Option(help="Comma-separated.")] = "1,8",
    stride: Annotated[int | None, typer.Option(help="Of a preset's patches: 16 or 10.")] = None,
    frames: Frames = None,
    load: Load = None,
    device: Annotated[
        str, typer.Option(help="Of torch: cpu, cuda, cuda:1, mps, auto; all else runs on the CPU.")
    ] = "cpu",
    dtype: Dtype = "float32",
    rounds: Annotated[int, typer.Option(min=1, help="Timed pairs a row, at most.")] = 20,
    budget: Annotated[
        float, typer.Option(min=0, help="Seconds for the pairs of a backend and batch size.")
    ] = 120.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory.")] = True,
    product: Annotated[
        int, typer.Option(min=64, help="Side of the product that tells the machine's rate.")
    ] = 4096,
    threads: Threads = None,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json.")] = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Time keep-rates and backends side by side, stage by stage; run it on a quiet machine."""
    from ..common.files import make_folder, save_json
    from ..evaluation.bench.bench import bench
    from ..evaluation.predict import window_seconds

    rates, places = rates_of(keep_rates), blocks_of(blocks)
    sizes = listed(batch_sizes, int, "--batch-sizes")
    allow_trusted_code(score, reduction)
    if out:
        make_folder(out)
    kinds, clips = listed(quantize, str, "--quantize"), None
    made = _made(model, stride, frames, load, device, dtype, threads)
    if calibrate is not None:
        clips = calibration_clips(calibrate, window_seconds(made))
    elif "int8" in kinds and (backends is None or "openvino" in backends):
        complain("note", "without --calibrate int8 is timed in onnxruntime alone, not in openvino.")
    with begins_anew(), progress() as bar:
        task = bar.add_task("preparing", total=None)
        result = bench(
            made,
            model,
            backends=None if backends is None else listed(backends, str, "--backends"),
            keep_rates=rates,
            score=score,
            blocks=places,
            reduction=reduction,
            quantize=kinds,
            calibration=clips,
            against=against,
            batch_sizes=sizes,
            rounds=rounds,
            budget=budget,
            threads=threads,
            memory=memory,
            product=product,
            steps=lambda what: bar.update(task, description=what),
        )
    if out:
        path = save_json(out / "bench.json", result)
    if json or format is TableOrJson.json:
        print_json(result)
    else:
        _print(result)
    if out:
        complain("written", str(path))


def _made(
    model: str,
    stride: int | None,
    frames: int | None,
    load: list[str] | None,
    device: str,
    dtype: str,
    threads: int | None,
) -> SpectrogramTransformer:
    from ..common.errors import SpectrimError
    from ..models.build import create
    from ..models.config import PRESETS
    from ..models.device import to_device

    if model not in PRESETS:
        if stride is not None:
            raise SpectrimError(f"--stride is for presets; {model} has its own.")
        return load_model(model, device, dtype, threads, frames, load, answers=False)
    if threads:
        import torch

        torch.set_num_threads(threads)
    return to_device(create(model, frames=frames or 1024, stride=stride or 16), device, dtype)


def _print(result: dict[str, Any]) -> None:
    from ..models.provenance import machine_of

    rows = result["rows"]
    columns = ["backend", "keep", "batch", "ms/clip", "clips/s", "GMAC/s", "of machine"]
    columns += ["vs unpruned (quartiles)", "MACs"]
    rival = result["against"]
    columns += ["vs transformers (quartiles)"] if rival else []
    columns += ["MB"] if any("peak_mb" in row for row in rows) else []
    lines: list[list[str] | None] = []
    last = None
    for row in rows:
        section = (row["batch_size"], row["backend"], row["quantization"])
        if last not in (None, section):
            lines.append(None)
        last = section
        int8 = "" if row["quantization"] == "none" else f" {row['quantization']}"
        cells = [
            row["backend"] + int8,
            str(row["keep_rate"]),
            str(row["batch_size"]),
            f"{row['ms_per_clip']:.1f}",
            f"{row['clips_per_s']:.2f}",
            f"{row['gmac_per_s']:.1f}",
            f"{row['share_of_machine']:.0%}",
            _ratio(row["speedup"], row["speedup_quartiles"]),
            f"{row['mac_ratio']:.2f}x",
        ]
        if rival:
            cells.append(_ratio(row["speedup_against"], row["speedup_against_quartiles"]))
        if "MB" in columns:
            peak = row.get("peak_mb")
            cells.append("-" if peak is None else f"{peak:.0f}")
        lines.append(cells)
    print_table(
        columns,
        lines,
        f"{result['model']}, {result['frames']} frames, {result['timed']}; {result['dtype']} on "
        f"{machine_of(result)}; the machine: "
        f"{result['machine_gmac_per_s']:.1f} GMAC/s in a product of {result['machine_product']} "
        f"a side. {'Against ' + rival + '. ' if rival else ''}Medians of interleaved pairs.\n",
    )
    print_table(
        ["stage", "ms/clip"],
        [[part["stage"], f"{part['ms_per_clip']:.2f}"] for part in result["stages"]],
        f"torch, unpruned, batch {result['stages'][0]['batch_size']}; 44.1 kHz WAV files.",
    )


def _ratio(value: float, quartiles: list[float]) -> str:
    return f"{value:.2f}x ({quartiles[0]:.2f} to {quartiles[1]:.2f})"
