"""The benchmark: speed-ups of pruning and backends on this machine, side by side."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...common.errors import SpectrimError, missing_package, nearest
from ...common.hooks import pass_point
from ...common.interruption import Stopped
from ...deploy.onnx_model import BACKENDS as EXPORTED
from ...deploy.torch_runner import TorchRunner
from ...models.build import prune
from ...models.provenance import RESULT_VERSION, plan_record, versions
from ...models.transformer import SpectrogramTransformer
from ...pruning.defaults import BENCH_KEEP_RATES, RECOMMENDED
from ...pruning.plan import Plan
from ...pruning.saved_plans import plan_columns
from ..timing import Timing, interleaved
from .candidates import Candidate, Key, PlannedModel, Steps, exported, groups_of
from .machine import MATMUL_SIZE, matrix_product, stages
from .memory import noise, peak_memory

BACKENDS = ("torch", *EXPORTED)


def bench(
    model: SpectrogramTransformer,
    name: str,
    *,
    backends: Sequence[str] | None = None,
    keep_rates: Sequence[float] = BENCH_KEEP_RATES,
    score: str | None = None,
    blocks: Sequence[int | str] | str | None = None,
    reduction: str = "keep-top",
    recommended: Plan | None = None,
    quantize: Sequence[str] = ("none",),
    calibration: Sequence[Sequence[np.ndarray]] | None = None,
    against: str | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    rounds: int = 20,
    budget: float = 120.0,
    threads: int | None = None,
    memory: bool = True,
    matmul_size: int = MATMUL_SIZE,
    compile: bool = False,
    steps: Steps = lambda what: None,
) -> dict[str, Any]:
    """Time a model from waveforms to probabilities, interleaved, on noise of its window's length.

    The model is timed on its own device and in its own dtype. On a GPU or in half precision only
    PyTorch runs it; the matrix product and the reference implementation use the same device and
    dtype.

    Every pruned row is paired with the unpruned row of its backend (`speedup`) and, with `against`,
    with the reference implementation (`speedup_against`).

    Args:
        backends: any of "torch", "onnxruntime", "openvino"; None: the installed ones. All but
            torch run float32 on the CPU only.
        keep_rates: 1.0 is always measured, first.
        score, blocks, reduction: as for `prune`.
        recommended: the model's recommended plan, which is timed as well; None: it is not.
        quantize: any of "none" and "int8"; int8 is for exported files.
        calibration: batches of waveforms that set the ranges of int8; None: dynamic int8, which
            OpenVINO would compute in float32, so it gets no such rows.
        against: "transformers": its AST of the same shape, with its own feature extractor.
        rounds: maximum number of pairs; budget: seconds for the pairs of one backend and batch
            size.
        threads: threads of every backend; None: torch's current number.
        memory: measure peak memory, in a fresh process per row; on a GPU, the GPU's memory.
        matmul_size: matrix size used to measure the peak matmul throughput.
        compile: compile the models that PyTorch runs, for each batch size. Their rows have
            "compile_s", the seconds it took, and no memory.

    Returns:
        {"machine_gmac_per_s": GMAC/s, "stages": rows, "rows": rows, ...}, plain data.

    Raises:
        SpectrimError: a backend is unknown, not installed, or cannot run on the model's device;
            `against` names a model that transformers does not have.
        Stopped: Ctrl-C; its result holds the rows so far, with "stopped": True.
    """
    chosen, threads = _chosen(backends, model), threads or torch.get_num_threads()
    for kind in quantize:
        if kind not in ("none", "int8"):
            raise SpectrimError(f"quantize is {kind!r}; expected 'none' or 'int8'.")
    if not batch_sizes or min(batch_sizes) < 1:
        raise SpectrimError(f"batch sizes {list(batch_sizes)}; expected at least 1 each.")
    runtimes = [backend for backend in chosen if backend != "torch"]
    if "int8" in quantize and not runtimes:
        raise SpectrimError(
            "int8 is for exported files, but only torch is timed. Omit --quantize, or choose "
            "--backends onnxruntime, which runs float32 models on the CPU."
        )
    if calibration is None and quantize == ["int8"] and "onnxruntime" not in runtimes:
        raise SpectrimError(
            f"int8 without calibration runs with onnxruntime only, not with {', '.join(chosen)}. "
            "Add --calibrate, or choose --backends onnxruntime."
        )
    _need(chosen)  # last: report what to install only if the call is valid
    reference = None if against is None else _reference(against, model)
    rates = [1.0, *(rate for rate in dict.fromkeys(keep_rates) if rate != 1.0)]
    plain = model.with_plan(Plan())
    pruned = [prune(plain, rate, score, blocks, reduction=reduction) for rate in rates[1:]]
    models = [
        PlannedModel(str(rate), rate, one)
        for rate, one in zip(rates, [plain, *pruned], strict=True)
    ]
    if recommended is not None:
        rate = plan_columns(plan_record(recommended))["keep_rate"]
        models.insert(1, PlannedModel(RECOMMENDED, rate, prune(plain, plan=recommended)))
    for planned in models if compile else ():
        planned.model.compile()
    rows: list[dict[str, Any]] = []
    sources: dict[Key, Path] = {}
    window = TorchRunner(plain).window
    context = TorchRunner(plain).context(name, max(batch_sizes))
    context.pop("plan")
    stage_rows: list[dict[str, Any]] = []

    def result() -> dict[str, Any]:
        for row in rows:
            row["model"] = name
        rows.sort(key=lambda row: batch_sizes.index(row["batch_size"]))
        return context | {
            "machine_gmac_per_s": statistics.median(row["machine_gmac_per_s"] for row in rows),
            "machine_product": matmul_size,
            "sound": "noise of the window's length",
            "timed": "waveforms to probabilities",
            "rounds": rounds,
            "budget_s": budget,
            "score": next((stage.score for one in pruned for stage in one.plan.stages), score),
            "blocks": [stage.at for one in pruned[:1] for stage in one.plan.stages],
            "against": None if reference is None else reference.description,
            "rows": rows,
            "stages": stage_rows,
            "versions": versions(*(name for name in chosen if name != "torch"), "transformers"),
            "format_version": RESULT_VERSION,
        }

    try:
        with tempfile.TemporaryDirectory() as folder:
            # Export first, so that a model that cannot be exported fails before anything is timed.
            to_export = [
                planned
                for planned in (models if runtimes else ())
                if exported(planned, Path(folder), steps)
            ]
            steps("stages")
            stage_rows += stages(plain, TorchRunner(plain), max(batch_sizes), rounds, budget)
            groups = groups_of(
                models, to_export, chosen, quantize, calibration, Path(folder), threads, steps
            )
            for group in groups:
                for batch_size in batch_sizes:
                    steps(f"{group[0].backend} {group[0].quantization}, batch {batch_size}")
                    waveforms = noise(batch_size, window)
                    rows += _timed(
                        group,
                        waveforms,
                        reference,
                        rounds,
                        budget,
                        matmul_size,
                        model.device,
                        model.dtype,
                    )
                    pass_point("bench:timings")
                sources |= {candidate.key: candidate.source for candidate in group}
            for row in rows if memory else ():
                if "compile_s" in row:
                    continue  # a fresh process would measure the compiler's memory
                steps(
                    f"memory of {row['backend']} {row['quantization']}, batch {row['batch_size']}"
                )
                source, batch_size = sources[_key(row)], row["batch_size"]
                row["peak_mb"] = peak_memory(
                    source, row["backend"], window, batch_size, threads,
                    context["device"], context["dtype"],
                )  # fmt: skip
    except KeyboardInterrupt:
        if not rows:
            raise
        raise Stopped(result() | {"stopped": True}) from None
    return result()


def num_timings(
    model: SpectrogramTransformer,
    backends: Sequence[str] | None,
    quantize: Sequence[str],
    batch_sizes: Sequence[int],
    against: str | None,
) -> int:
    """The largest number of timings of `bench`, each of which takes at most its budget.

    Each backend, quantisation and batch size has one, with a reference two; one more times stages.
    """
    per_backend = {name: 1 if name == "torch" else len(quantize) for name in BACKENDS}
    groups = sum(per_backend[name] for name in _chosen(backends, model))
    return 1 + groups * len(batch_sizes) * (1 if against is None else 2)


def _chosen(backends: Sequence[str] | None, model: SpectrogramTransformer) -> list[str]:
    """Backends to time, installed or not; see `bench`."""
    exports = model.device.type == "cpu" and model.dtype == torch.float32
    if backends is None:
        return _installed() if exports else ["torch"]
    chosen = list(dict.fromkeys(backends))
    for backend in chosen:
        if backend not in BACKENDS:
            raise SpectrimError(f"no backend is called {backend!r}.{nearest(backend, BACKENDS)}")
        if backend != "torch" and not exports:
            raise SpectrimError(
                f"{backend} runs exported files in float32 on the CPU, but this model is on "
                f"{model.device} in {str(model.dtype).removeprefix('torch.')}. Choose --backends "
                "torch, or omit --device and --dtype."
            )
    return chosen


def _need(backends: Sequence[str]) -> None:
    for backend in (name for name in backends if name not in _installed()):
        extra = "openvino" if backend == "openvino" else "export"
        raise missing_package(f"the backend {backend}", backend, extra)


def _installed() -> list[str]:
    return [name for name in BACKENDS if importlib.util.find_spec(name) is not None]


def _key(row: Mapping[str, Any]) -> Key:
    name = RECOMMENDED if row.get("recommended") else str(row["keep_rate"])
    return row["backend"], row["quantization"], name


def _timed(
    group: Sequence[Candidate],
    waveforms: list[np.ndarray],
    reference: Any,
    rounds: int,
    budget: float,
    matmul_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> list[dict[str, Any]]:
    """Rows of one backend at one batch size.

    The matrix product that measures the machine is timed in turn with them, because the speed of
    a shared machine changes from one minute to the next.
    """
    compile_seconds = [
        candidate.runner.compile_for(waveforms)
        if isinstance(candidate.runner, TorchRunner)
        else 0.0
        for candidate in group
    ]
    calls = [candidate.call(waveforms) for candidate in group]
    multiply = matrix_product(matmul_size, device, dtype)
    *timings, product = interleaved([*calls, multiply], rounds, budget, device=device)
    machine = matmul_size**3 / product.seconds / 1e9
    against: list[Timing | None] = [None] * len(group)
    if reference is not None:
        paired = [reference.call(waveforms), *calls]
        against = list(interleaved(paired, rounds, budget, device=device)[1:])
    batch_size = len(waveforms)
    rows = []
    for candidate, timing, paired_timing, seconds in zip(
        group, timings, against, compile_seconds, strict=True
    ):
        row: dict[str, Any] = {
            "backend": candidate.backend,
            "quantization": candidate.quantization,
            "keep_rate": candidate.planned.keep_rate,
            "batch_size": batch_size,
            "ms_per_clip": timing.seconds / batch_size * 1000,
            "clips_per_s": batch_size / timing.seconds,
            "gmacs": candidate.gmacs,
            "gmac_per_s": candidate.gmacs * batch_size / timing.seconds,
            "machine_gmac_per_s": machine,
            "share_of_machine": candidate.gmacs * batch_size / timing.seconds / machine,
            "speedup": timing.speedup,
            "speedup_quartiles": [timing.low, timing.high],
            "mac_ratio": group[0].gmacs / candidate.gmacs,
            "pairs": timing.rounds,
        }
        if candidate.planned.name == RECOMMENDED:
            row |= {"recommended": True, "plan": plan_record(candidate.planned.model.plan)}
        if seconds:
            row["compile_s"] = round(seconds, 3)
        if paired_timing is not None:
            row["speedup_against"] = paired_timing.speedup
            row["speedup_against_quartiles"] = [paired_timing.low, paired_timing.high]
        rows.append(row)
    return rows


def _reference(against: str, model: SpectrogramTransformer) -> Any:
    if against != "transformers":
        raise SpectrimError(f"against is {against!r}; expected 'transformers'.")
    from .transformers_ast import Transformers

    return Transformers(model)
