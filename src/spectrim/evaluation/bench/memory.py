"""Peak memory of a running model, measured in a fresh process; imports torch only to run it."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ...deploy.runner import Runner

LONGEST_WAIT = 1e6  # seconds; the system refuses a time limit of more than 24 days


def noise(clips: int, samples: int) -> list[np.ndarray]:
    """Clips of noise, (samples,) float32 each; a model's time does not depend on the sound."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, samples).astype(np.float32) for _ in range(clips)]


def peak_memory(
    source: Path,
    backend: str,
    window: int,
    batch_size: int,
    threads: int | None,
    device: str = "cpu",
    dtype: str = "float32",
    seconds: float = math.inf,
) -> float | None:
    """Peak memory in MB of a fresh process that loads a model and runs a batch twice.

    On a CUDA device: peak memory of tensors on that device.

    Args:
        source: a folder saved by Spectrim ("torch"), or an ONNX file (any other backend).
        window: samples per clip.
        seconds: after which the process is ended.

    Returns:
        None if the system or the device does not report it, if the process took too long, or if
        it was killed, for example because memory ran out.
    """
    if seconds <= 0:
        return None
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    task = str(source), backend, window, batch_size, threads, device, dtype
    process = spawn.Process(target=_send, args=(sender, _peak, task), daemon=True)
    process.start()
    sender.close()  # so that the end of the process ends the pipe
    try:
        if not receiver.poll(None if seconds > LONGEST_WAIT else seconds):
            return None
        answer = receiver.recv()
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _send(sender: Connection, function: Callable[..., float | None], task: tuple[Any, ...]) -> None:
    """Send what a function returns or raises."""
    answer: float | Exception | None
    try:
        answer = function(*task)
    except Exception as error:
        answer = error
    sender.send(answer)


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
