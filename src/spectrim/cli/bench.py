"""`spectrim bench`: measured speed on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.interruption import Stopped
from ..pruning.defaults import BENCH_KEEP_RATES
from ..pruning.saved_plans import plan_label
from .output import (
    Output,
    announce,
    end_with_failures,
    notify,
    progress,
    shows_results_so_far,
)
from .plan_options import Pruning, recommended_plan
from .shared_options import (
    KEEP_RATES_HELP,
    Calibrate,
    Loading,
    LoadingWithCompile,
    StrideOfPreset,
    comma_separated,
    listed,
    model_option,
    pruning_option,
    rates_of,
)
from .tables import print_table
from .timing_options import Rounds, timing_option

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

EXAMPLE = "Example: spectrim bench --model ast-base --against transformers --keep-rates 1.0,0.5"


KEEP_RATES = comma_separated(BENCH_KEEP_RATES)


@dataclass(frozen=True)
class BenchLoading(LoadingWithCompile):
    """As for other commands, but "auto" is the CPU if a backend that needs it is chosen."""

    device: Annotated[
        str,
        model_option(
            help="Device for PyTorch: cpu, cuda, cuda:1 or mps; auto uses CUDA if it is available "
            "and --backends names torch only or nothing. Other backends use the CPU."
        ),
    ] = "auto"


def command(
    loading: BenchLoading,
    pruning: Pruning,
    output: Output,
    model: Annotated[
        str,
        model_option(
            help="A preset with random weights, such as ast-base; or a built-in name, Hugging "
            "Face hub id, folder or checkpoint file."
        ),
    ] = "ast-base",
    stride: StrideOfPreset = None,
    keep_rates: Annotated[
        str | None,
        pruning_option(
            help=f"{KEEP_RATES_HELP} Default: {KEEP_RATES}. Without pruning options, the "
            "recommended plan of the model is timed as well."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Reference implementation to time as well: transformers (AST of the same shape)."
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            help="torch, onnxruntime or openvino; comma-separated. Default: all installed."
        ),
    ] = None,
    quantize: Annotated[str, typer.Option(help="none, int8 or none,int8.")] = "none",
    calibrate: Calibrate = None,
    batch_sizes: Annotated[str, timing_option(help="Clips per batch; comma-separated.")] = "1,8",
    rounds: Rounds = 20,
    budget: Annotated[
        float,
        timing_option(
            min=0,
            help="Time limit in seconds for each backend and batch size, including exports and "
            "compilation. Exports are cached.",
        ),
    ] = 120.0,
    memory: Annotated[bool, timing_option(help="Measure peak memory.")] = True,
    matmul_size: Annotated[
        int,
        timing_option(min=64, help="Matrix size used to measure the peak matmul throughput."),
    ] = 4096,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json.")] = None,
) -> None:
    """Time keep rates and backends side by side, and each stage. Run it on an idle machine."""
    from ..common.files import make_folder, save_json
    from ..deploy.calibration import calibration_batches
    from ..evaluation.bench.bench import bench, num_timings

    rates = rates_of(keep_rates or KEEP_RATES)
    sizes = listed(batch_sizes, int, "--batch-sizes")
    pruning.check()
    if out:
        make_folder(out)
    quantizations, clips = listed(quantize, str, "--quantize"), None
    chosen = None if backends is None else listed(backends, str, "--backends")
    on_cpu = quantizations != ["none"] or (chosen is not None and chosen != ["torch"])
    if loading.device == "auto" and on_cpu:
        loading = replace(loading, device="cpu")
    timed = _preset_or_checkpoint(model, stride, loading)
    if calibrate is not None:
        clips = calibration_batches(
            calibrate, timed.config.seconds_to_read, rate=timed.config.sample_rate
        )
    elif "int8" in quantizations and (backends is None or "openvino" in backends):
        notify(
            "note", "without --calibrate, int8 is timed with onnxruntime only, not with openvino."
        )
    recommended = None
    if not pruning.is_given(keep_rates):
        recommended = recommended_plan(model, timed.recommendation)

    timings = num_timings(timed, chosen, quantizations, sizes, against, clips, memory)
    included = "exports and compilation" if loading.compile else "exports"
    text = f"up to {timings} measurements of at most {budget:g} s, {included} included"
    announce((timings * budget, text))

    def finish(result: dict[str, Any]) -> None:
        path = save_json(out / "bench.json", result) if out else None
        output.emit(result, lambda: _print(result))
        if path:
            notify("written", str(path))

    try:
        with shows_results_so_far(out), progress() as bar:
            task = bar.add_task("preparing", total=None)
            result = bench(
                timed,
                model,
                backends=chosen,
                keep_rates=rates,
                score=pruning.score,
                blocks=pruning.blocks,
                reduction=pruning.reduction,
                recommended=recommended,
                quantize=quantizations,
                calibration=clips,
                against=against,
                batch_sizes=sizes,
                rounds=rounds,
                budget=budget,
                threads=loading.threads,
                memory=memory,
                matmul_size=matmul_size,
                compile=loading.compile,
                steps=lambda step: bar.update(task, description=step),
            )
    except Stopped as stopped:
        finish(stopped.result)
        raise
    loading.note_compilation(sum(row.get("compile_s", 0.0) for row in result["rows"]))
    finish(result)
    end_with_failures(
        f"exported files ({failure['quantization']}): {failure['error']}"
        for failure in result["failures"]
    )


def _preset_or_checkpoint(
    model: str, stride: int | None, loading: Loading
) -> SpectrogramTransformer:
    from ..common.errors import SpectrimError
    from ..models.build import create
    from ..models.device import to_device
    from ..models.presets import PRESETS

    if model not in PRESETS:
        if stride is not None:
            raise SpectrimError(f"--stride applies to presets only; {model} has its own stride.")
        return loading.model(model)
    loading.set_threads()
    created = create(model, frames=loading.num_frames, stride=stride)
    return to_device(created, loading.device, loading.dtype)


def _print(result: dict[str, Any]) -> None:
    from ..models.provenance import machine_of

    rows, reference = result["rows"], result["against"]
    with_memory = any("peak_mb" in row for row in rows)
    columns = ["backend", "keep", "batch", "ms/clip", "speed-up (quartiles)"]
    columns += ["vs ref."] if reference else []
    columns += ["MACs", "% of peak"] + (["MB"] if with_memory else [])
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
            "rec." if row.get("recommended") else str(row["keep_rate"]),
            str(row["batch_size"]),
            f"{row['ms_per_clip']:.1f}",
            _ratio(row["speedup"], row["speedup_quartiles"]),
        ]
        if reference:
            faster = row["speedup_against"]
            cells.append("-" if faster is None else f"{faster:.2f}x")
        share = row["share_of_machine"]
        cells += [f"{row['mac_ratio']:.2f}x", "-" if share is None else f"{share:.0%}"]
        if with_memory:
            peak = row.get("peak_mb")
            cells.append("-" if peak is None else f"{peak:.0f}")
        lines.append(cells)
    labels = [plan_label(row["plan"]) for row in rows if row.get("recommended")]
    plan = f" rec.: the recommended plan, {labels[0]}." if labels else ""
    peak = result["machine_gmac_per_s"]
    product = f"a matmul of size {result['machine_product']}"
    of_peak = f"not timed ({product})" if peak is None else f"of {peak:.1f} GMAC/s in {product}"
    print_table(
        columns,
        lines,
        f"{result['model']}, {result['frames']} frames, {result['timed']}; {result['dtype']} on "
        f"{machine_of(result)}; medians of interleaved pairs against the unpruned model.\n"
        f"{f'vs ref.: speed-up over {reference}. ' if reference else ''}"
        f"MACs: reduction against unpruned. % of peak: {of_peak}.{plan}",
    )
    if not result["stages"]:  # interrupted before
        return
    print_table(
        ["stage", "ms/clip"],
        [[stage["stage"], f"{stage['ms_per_clip']:.2f}"] for stage in result["stages"]],
        f"PyTorch, unpruned, batch size {result['stages'][0]['batch_size']}; 44.1 kHz WAV files.",
    )


def _ratio(value: float, quartiles: list[float]) -> str:
    return f"{value:.2f}x ({quartiles[0]:.2f} to {quartiles[1]:.2f})"
