"""Peak memory of a running model, measured in a fresh process; imports torch only to run it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from ...audio.constants import SAMPLE_RATE
from ...deploy.runner import Runner


def noise(clips: int, samples: int, rate: int = SAMPLE_RATE) -> list[np.ndarray]:
    """Clips of noise, (samples,) float32 each; a model's time does not depend on the sound."""
    rng = np.random.default_rng(0)
    length = round(samples * rate / SAMPLE_RATE)
    return [rng.normal(0, 0.1, length).astype(np.float32) for _ in range(clips)]


def peak_memory(
    source: Path,
    backend: str,
    window: int,
    batch_size: int,
    threads: int | None,
    device: str = "cpu",
    dtype: str = "float32",
) -> float | None:
    """Peak memory in MB of a fresh process that loads a model and runs a batch twice.

    On a CUDA device: peak memory of tensors on that device.

    Args:
        source: a folder saved by Spectrim ("torch"), or an ONNX file (any other backend).
        window: samples per clip.

    Returns:
        None if the system or the device does not report it, or if the process was killed, for
        example because memory ran out.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        task = str(source), backend, window, batch_size, threads, device, dtype
        try:
            return pool.submit(_peak, *task).result()
        except BrokenProcessPool:
            return None


def _peak(
    source: str,
    backend: str,
    window: int,
    batch_size: int,
    threads: int | None,
    device: str,
    dtype: str,
) -> float | None:
    runner: Runner
    if backend == "torch":
        import torch

        from ...deploy.torch_runner import TorchRunner
        from ...models.loading.load import load

        if threads:
            torch.set_num_threads(threads)
        # Safe to trust: the caller saved the folder, from a model that already runs here.
        runner = TorchRunner(load(source, device=device, dtype=dtype, trust_code=True))
    else:
        from ...deploy.onnx_model import load_onnx

        runner = load_onnx(source, backend, threads)
    for _ in range(2):
        runner.probabilities(noise(batch_size, window))
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e6
    return _high_water() if device == "cpu" else None


def _high_water() -> float | None:
    """Peak MB of this process; not ru_maxrss, which a child inherits from its parent."""
    try:
        lines: Sequence[str] = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peaks = [line for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0].split()[1]) * 1024 / 1e6 if peaks else None
