"""The benchmark: speed-ups of pruning and backends on this machine, side by side."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
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
from .candidates import (
    Candidate,
    Key,
    PlannedModel,
    exported_candidates,
    torch_candidates,
)
from .exports import Announce, export_within, exportable
from .machine import MATMUL_SIZE, stages
from .memory import noise
from .timed_rows import BudgetShares, add_memory, median_speed, timed_rows
from .transformers_ast import reference_of

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
    steps: Announce = lambda label: None,
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
        rounds: maximum number of pairs.
        budget: seconds for one backend and batch size, including warm-ups, exports and
            compilation. Exports, which are cached, may use half of the time of exported files.
            Compilation may use half of the time of compiled models.
        threads: threads of every backend; None: torch's current number.
        memory: measure peak memory, in a fresh process per row; on a GPU, the GPU's memory. All
            rows together have `budget` seconds; the rows after that have None.
        matmul_size: matrix size used to measure the peak matmul throughput.
        compile: compile the models that PyTorch runs, for each batch size. Their rows have
            "compile_s", the seconds it took, and no memory.

    Returns:
        {"machine_gmac_per_s": GMAC/s, "stages": rows, "rows": rows, "failures": of exports, ...},
        plain data.

    Raises:
        SpectrimError: a backend is unknown, not installed, or cannot run on the model's device;
            a plan cannot be exported; `against` names a model that transformers does not have;
            the budget is too short for any row.
        Stopped: Ctrl-C; its result holds the rows so far, with "stopped": True.
    """
    chosen, threads = _chosen(backends, model), threads or torch.get_num_threads()
    for quantization in quantize:
        if quantization not in ("none", "int8"):
            raise SpectrimError(f"quantize is {quantization!r}; expected 'none' or 'int8'.")
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
    reference = None if against is None else reference_of(against, model)
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
    to_export = exportable(models) if runtimes else []
    for planned in models if compile and "torch" in chosen else ():
        planned.model.compile()
    rows: list[dict[str, Any]] = []
    sources: dict[Key, Path] = {}
    window = TorchRunner(plain).window
    context = TorchRunner(plain).context(name, max(batch_sizes))
    context.pop("plan")
    stage_rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []

    def result() -> dict[str, Any]:
        for row in rows:
            row["model"] = name
        rows.sort(key=lambda row: batch_sizes.index(row["batch_size"]))
        return context | {
            "machine_gmac_per_s": median_speed(rows),
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
            "failures": failures,
            "versions": versions(*(name for name in chosen if name != "torch"), "transformers"),
            "format_version": RESULT_VERSION,
        }

    def add(group: Sequence[Candidate], shares: BudgetShares) -> None:
        sources.update({candidate.key: candidate.source for candidate in group})
        for batch_size in batch_sizes:
            steps(f"{group[0].backend} {group[0].quantization}, batch {batch_size}")
            waveforms = noise(batch_size, window)
            seconds = shares.next()
            rows.extend(timed_rows(group, waveforms, reference, rounds, seconds, matmul_size))
            pass_point("bench:timings")

    # Seconds of a backend at a batch size.
    limit = budget if reference is None else 2 * budget
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            # Torch runs first. It needs no export, so it answers early; and next to another
            # runtime's threads and memory, it runs up to 5 % slower than alone.
            if "torch" in chosen:
                add(torch_candidates(models, folder), BudgetShares(len(batch_sizes), limit))
            steps("stages")
            stage_rows += stages(plain, TorchRunner(plain), max(batch_sizes), rounds, budget)
            for quantization in quantize if runtimes else ():
                fitting = backends_of(quantization, runtimes, calibration)
                timings = len(fitting) * len(batch_sizes)
                shares = BudgetShares(timings, limit)
                try:
                    files = export_within(
                        to_export, quantization, calibration, folder, timings * limit / 2, steps
                    )
                except SpectrimError as error:  # keep the rows so far
                    if not rows:
                        raise
                    failures.append({"quantization": quantization, "error": str(error)})
                    continue
                for backend in fitting if models[0].name in files else ():
                    add(
                        exported_candidates(to_export, files, backend, quantization, threads),
                        shares,
                    )
            if memory:
                steps("memory")
                add_memory(
                    rows, sources, window, threads, budget, context["device"], context["dtype"]
                )
    except KeyboardInterrupt as interrupt:
        rows += interrupt.result if isinstance(interrupt, Stopped) else []
        if not rows:
            raise
        raise Stopped(result() | {"stopped": True}) from None
    if not rows:
        raise SpectrimError(
            f"a budget of {budget:g} s is too short to time anything. Use a larger --budget."
        )
    return result()


def num_timings(
    model: SpectrogramTransformer,
    backends: Sequence[str] | None,
    quantize: Sequence[str],
    batch_sizes: Sequence[int],
    against: str | None,
    calibration: Sequence[Sequence[np.ndarray]] | None = None,
    memory: bool = False,
) -> int:
    """How often the budget of `bench` is spent at most; exports are included.

    Once for each backend, quantisation and batch size, with a reference twice; once for the
    stages, and once for the memory of all rows.
    """
    chosen = _chosen(backends, model)
    runtimes = [backend for backend in chosen if backend != "torch"]
    groups = len(chosen) - len(runtimes)
    groups += sum(
        len(backends_of(quantization, runtimes, calibration)) for quantization in quantize
    )
    return 1 + memory + groups * len(batch_sizes) * (1 if against is None else 2)


def backends_of(
    quantization: str,
    runtimes: Sequence[str],
    calibration: Sequence[Sequence[np.ndarray]] | None,
) -> list[str]:
    """The backends of exported files that run a quantisation."""
    if quantization == "none" or calibration is not None:
        return list(runtimes)
    return [name for name in runtimes if name == "onnxruntime"]  # OpenVINO would run float32


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
