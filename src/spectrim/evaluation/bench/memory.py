"""Peak memory of a model at work, in a process of its own; torch is imported where it runs it."""

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
    """Clips of noise, (samples,) float32; the time that a model takes does not depend on them."""
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
    """MB that a fresh process holds at most while it loads a model and runs a batch twice.

    On a CUDA device: MB of tensors there, at most.

    Args:
        source: a folder of Spectrim's own ("torch") or an ONNX file (any other backend).
        window: samples a clip.

    Returns:
        None where the system does not tell, or the device; or the process was killed, as it is
        where memory ends.
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
        # The caller wrote the folder, of a model that runs here already.
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
    """MB of this process at its peak; not ru_maxrss, which a child takes over from its parent."""
    try:
        lines: Sequence[str] = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * 1024 / 1e6 if found else None
