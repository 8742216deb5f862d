"""The benchmark: what pruning and backends win on this machine, side by side."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...common.errors import SpectrimError, nearest
from ...deploy.export import export
from ...deploy.onnx_model import BACKENDS as EXPORTED
from ...deploy.onnx_model import load_onnx
from ...deploy.runner import Runner
from ...deploy.torch_runner import TorchRunner
from ...models.build import macs, prune
from ...models.provenance import RESULT_VERSION, versions
from ...models.transformer import SpectrogramTransformer
from ...pruning.defaults import BENCH_KEEP_RATES, DEFAULT_BLOCKS
from ...pruning.plan import Plan
from ..timing import Timing, interleaved
from .machine import PRODUCT, matrix_product, stages
from .memory import noise, peak_memory

BACKENDS = ("torch", *EXPORTED)
Steps = Callable[[str], None]
"""Progress: what is being done."""
Key = tuple[str, str, float]  # backend, quantization, keep-rate


@dataclass(frozen=True)
class Candidate:
    """One way of running the model: a backend, a keep-rate, a file or folder to load it from."""

    backend: str
    quantization: str
    keep_rate: float
    gmacs: float
    runner: Runner
    source: Path

    def call(self, waveforms: list[np.ndarray]) -> Callable[[], object]:
        """Waveforms to probabilities."""
        return lambda: self.runner.probabilities(waveforms)


def bench(
    model: SpectrogramTransformer,
    name: str,
    *,
    backends: Sequence[str] | None = None,
    keep_rates: Sequence[float] = BENCH_KEEP_RATES,
    score: str = "attention",
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    reduction: str = "keep-top",
    quantize: Sequence[str] = ("none",),
    calibration: Sequence[Sequence[np.ndarray]] | None = None,
    against: str | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    rounds: int = 20,
    budget: float = 120.0,
    threads: int | None = None,
    memory: bool = True,
    product: int = PRODUCT,
    steps: Steps = lambda what: None,
) -> dict[str, Any]:
    """Time a model, from waveforms to probabilities, interleaved, on noise of its window's length.

    It is timed where it lies and as it is: a model on a GPU, or in half precision, by torch alone,
    and the machine's rate and the other program likewise.

    Every pruned row is paired with its own backend's unpruned one (`speedup`) and, with
    `against`, with the other program (`speedup_against`).

    Args:
        backends: of "torch", "onnxruntime", "openvino"; None: those that are installed and, but
            for torch, run float32 on the CPU as the model does.
        keep_rates: 1.0 is always measured, first.
        score, blocks, reduction: what is pruned, as for `prune`.
        quantize: of "none" and "int8" (of exported files).
        calibration: batches of waveforms that fix the ranges of int8; None: dynamic, which
            OpenVINO would compute in float32, so that it gets no such rows.
        against: "transformers": its AST of the same shape, with its own feature extractor.
        rounds: of pairs at most; budget: seconds for the pairs of one backend and batch size.
        threads: what torch runs with and others are given; None: torch's own number for all.
        memory: whether to measure peak memory, in a process of its own for each row; of a model
            on a GPU the GPU's.
        product: side of the product that tells the machine's rate.

    Returns:
        {"machine": GMAC/s, "stages": rows, "rows": rows, ...}, plain data.

    Raises:
        SpectrimError: an unknown backend, one that is not installed or does not run where the model
            lies; `against` for a model that transformers does not have.
    """
    chosen, threads = _chosen(backends, model), threads or torch.get_num_threads()
    for kind in quantize:
        if kind not in ("none", "int8"):
            raise SpectrimError(f"quantize is {kind!r}; wanted 'none' or 'int8'.")
    if not batch_sizes or min(batch_sizes) < 1:
        raise SpectrimError(f"batch sizes {list(batch_sizes)}; wanted at least 1 each.")
    exported = [backend for backend in chosen if backend != "torch"]
    if "int8" in quantize and not exported:
        raise SpectrimError(
            "int8 is of exported files, and torch alone is timed; leave out --quantize, or choose "
            "--backends onnxruntime (which runs float32 models of the CPU)."
        )
    if calibration is None and quantize == ["int8"] and "onnxruntime" not in exported:
        raise SpectrimError(
            f"int8 without clips to calibrate with runs in onnxruntime alone, not in "
            f"{', '.join(chosen)}; give --calibrate, or --backends onnxruntime."
        )
    _need(chosen)  # last: what to install matters where nothing else speaks against the call
    rival = None if against is None else _rival(against, model)
    rates = [1.0, *(rate for rate in dict.fromkeys(keep_rates) if rate != 1.0)]
    plain = model.with_plan(Plan())
    variants = [
        plain,
        *(prune(plain, rate, score, blocks, reduction=reduction) for rate in rates[1:]),
    ]
    rows: list[dict[str, Any]] = []
    sources: dict[Key, Path] = {}
    window = TorchRunner(plain).window
    context = TorchRunner(plain).context(name, max(batch_sizes))
    context.pop("plan")
    with tempfile.TemporaryDirectory() as folder:
        # What cannot be exported says so before anything is timed.
        for rate, variant in zip(rates, variants if exported else (), strict=False):
            steps(f"export, keep-rate {rate}, none")
            export(variant, Path(folder) / f"{rate}-none.onnx")
        steps("stages")
        parts = stages(plain, TorchRunner(plain), max(batch_sizes), rounds, budget)
        made = _groups(variants, rates, chosen, quantize, calibration, Path(folder), threads, steps)
        for group in made:
            for batch_size in batch_sizes:
                steps(f"{group[0].backend} {group[0].quantization}, batch {batch_size}")
                waveforms = noise(batch_size, window)
                rows += _timed(
                    group, waveforms, rival, rounds, budget, product, model.device, model.dtype
                )
            sources |= {_key(vars(candidate)): candidate.source for candidate in group}
        rows.sort(key=lambda row: batch_sizes.index(row["batch_size"]))
        for row in rows if memory else ():
            steps(f"memory of {row['backend']} {row['quantization']}, batch {row['batch_size']}")
            source, batch_size = sources[_key(row)], row["batch_size"]
            row["peak_mb"] = peak_memory(
                source, row["backend"], window, batch_size, threads,
                context["device"], context["dtype"],
            )  # fmt: skip
    for row in rows:
        row["model"] = name
    return context | {
        "machine_gmac_per_s": statistics.median(row["machine_gmac_per_s"] for row in rows),
        "machine_product": product,
        "sound": "noise of the window's length",
        "timed": "waveforms to probabilities",
        "rounds": rounds,
        "budget_s": budget,
        "score": score,
        "blocks": list(blocks),
        "against": None if rival is None else rival.description,
        "rows": rows,
        "stages": parts,
        "versions": versions(*(name for name in chosen if name != "torch"), "transformers"),
        "format_version": RESULT_VERSION,
    }


def _chosen(backends: Sequence[str] | None, model: SpectrogramTransformer) -> list[str]:
    """What to time, installed or not; see `bench`."""
    exports = model.device.type == "cpu" and model.dtype == torch.float32
    if backends is None:
        return _installed() if exports else ["torch"]
    chosen = list(dict.fromkeys(backends))
    for backend in chosen:
        if backend not in BACKENDS:
            raise SpectrimError(f"no backend is called {backend!r}.{nearest(backend, BACKENDS)}")
        if backend != "torch" and not exports:
            raise SpectrimError(
                f"{backend} runs exported files, in float32 on the CPU; this model is on "
                f"{model.device} in {str(model.dtype).removeprefix('torch.')}. Choose --backends "
                "torch, or leave out --device and --dtype."
            )
    return chosen


def _need(backends: Sequence[str]) -> None:
    for backend in (name for name in backends if name not in _installed()):
        raise SpectrimError(
            f"the backend {backend} is not installed: pip install 'spectrim["
            f"{'openvino' if backend == 'openvino' else 'export'}]', or choose --backends."
        )


def _installed() -> list[str]:
    return [name for name in BACKENDS if importlib.util.find_spec(name) is not None]


def _key(row: Mapping[str, Any]) -> Key:
    return row["backend"], row["quantization"], row["keep_rate"]


def _groups(
    variants: Sequence[SpectrogramTransformer],
    rates: Sequence[float],
    backends: Sequence[str],
    quantize: Sequence[str],
    calibration: Sequence[Sequence[np.ndarray]] | None,
    folder: Path,
    threads: int | None,
    steps: Steps,
) -> Iterator[list[Candidate]]:
    """A group for each backend and precision: the unpruned model, then the pruned ones.

    Float32 files lie in `folder` already, where a backend wants them.

    One after the other, torch first: beside another runtime's threads and memory, torch loses up
    to 5 % of the speed that it has alone.
    """
    gmacs = [macs(variant) / 1e9 for variant in variants]
    if "torch" in backends:
        yield [
            Candidate("torch", "none", rate, cost, TorchRunner(variant),
                      variant.save(folder / f"torch-{rate}"))
            for rate, cost, variant in zip(rates, gmacs, variants, strict=True)
        ]  # fmt: skip
    exported = [backend for backend in backends if backend != "torch"]
    for kind in quantize if exported else ():
        files = [folder / f"{rate}-{kind}.onnx" for rate in rates]
        for rate, variant, file in zip(rates, variants, files, strict=True):
            if not file.exists():
                steps(f"export, keep-rate {rate}, {kind}")
                export(variant, file, quantize=kind, calibration=calibration)
        for backend in exported:
            if kind == "int8" and calibration is None and backend != "onnxruntime":
                steps(f"{backend}: no int8 without --calibrate")
                continue  # OpenVINO runs dynamic int8 in float32, and slower for it
            yield [
                Candidate(backend, kind, rate, cost, load_onnx(file, backend, threads), file)
                for rate, cost, file in zip(rates, gmacs, files, strict=True)
            ]


def _timed(
    group: Sequence[Candidate],
    waveforms: list[np.ndarray],
    rival: Any,
    rounds: int,
    budget: float,
    product: int,
    device: torch.device,
    dtype: torch.dtype,
) -> list[dict[str, Any]]:
    """Rows of one backend at one batch size.

    The product that tells the machine's rate takes its turn among them: shared machines change
    their speed from one minute to the next.
    """
    calls = [candidate.call(waveforms) for candidate in group]
    multiply = matrix_product(product, device, dtype)
    *own, multiplied = interleaved([*calls, multiply], rounds, budget, device=device)
    machine = product**3 / multiplied.seconds / 1e9
    others: list[Timing | None] = [None] * len(group)
    if rival is not None:
        beside = [rival.call(waveforms), *calls]
        others = list(interleaved(beside, rounds, budget, device=device)[1:])
    batch_size = len(waveforms)
    rows = []
    for candidate, timing, other in zip(group, own, others, strict=True):
        row: dict[str, Any] = {
            "backend": candidate.backend,
            "quantization": candidate.quantization,
            "keep_rate": candidate.keep_rate,
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
        if other is not None:
            row["speedup_against"] = other.speedup
            row["speedup_against_quartiles"] = [other.low, other.high]
        rows.append(row)
    return rows


def _rival(against: str, model: SpectrogramTransformer) -> Any:
    if against != "transformers":
        raise SpectrimError(f"against is {against!r}; wanted 'transformers'.")
    from .transformers_ast import Transformers

    return Transformers(model)
