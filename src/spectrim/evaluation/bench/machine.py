"""Benchmarks of the machine's matmul throughput and of the stages from file to probabilities."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch

from ...audio.decode import read
from ...deploy.torch_runner import TorchRunner
from ...models.transformer import SpectrogramTransformer
from ..timing import interleaved_within
from .memory import noise

MATMUL_SIZE = 4096  # large enough that the product runs at the peak rate
FILE_RATE = 44_100  # Hz, the rate of most sound files


def matrix_product(
    size: int = MATMUL_SIZE,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], object]:
    """A call that multiplies two (size, size) matrices; its time gives the peak throughput."""
    left, right = torch.randn(2, size, size).to(device, dtype)
    return lambda: torch.matmul(left, right)


def stages(
    model: SpectrogramTransformer, runner: TorchRunner, batch_size: int, rounds: int, budget: float
) -> list[dict[str, Any]]:
    """Time of each stage from a file to probabilities: ms per clip, medians.

    `budget` is for all of them, in seconds.
    The files are 44.1 kHz WAV of the window's length. The filter bank runs on batches. The model
    runs on the pieces into which the runner splits a batch. The result is empty for a compiled
    model that was not compiled for that size, because its compilation did not fit the budget.
    """
    piece = min(runner.clips_at_once or batch_size, batch_size)
    if model.compiled is not None and piece not in model.compiled.seconds:
        return []
    rate = runner.sample_rate
    clips = noise(batch_size, round(runner.window * FILE_RATE / rate))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{n}.wav" for n in range(batch_size)]
        for file, clip in zip(files, clips, strict=True):
            soundfile.write(file, clip, FILE_RATE)
        waveforms = [read(file, rate=rate)[: runner.window] for file in files]
        features, valid = model.features_from_waveforms(waveforms)
        pieces = list(zip(features.split(piece), valid.split(piece), strict=True))
        calls: list[Callable[[], object]] = [
            lambda: [read(file, rate=rate) for file in files],
            lambda: [read((clip, FILE_RATE), rate=rate) for clip in clips],
            lambda: model.features_from_waveforms(waveforms),
            lambda: [model(*inputs) for inputs in pieces],
        ]
        with torch.inference_mode():
            with_decoding, resampling, filter_bank, forward = (
                timing.seconds
                for call in calls
                for timing in interleaved_within([call], rounds, budget / len(calls), model.device)
                if timing is not None
            )
    seconds = {
        "decode": max(0.0, with_decoding - resampling),
        "resample": resampling,
        "filter bank": filter_bank,
        "model": forward,
    }
    return [
        {"stage": name, "ms_per_clip": value / batch_size * 1000, "batch_size": batch_size}
        for name, value in seconds.items()
    ]
