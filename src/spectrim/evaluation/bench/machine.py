"""What the benchmark measures beside models: the machine, and the stages before a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch

from ...audio.decode import read
from ...deploy.runner import Runner
from ...models.transformer import SpectrogramTransformer
from ..timing import interleaved
from .memory import noise

PRODUCT = 4096  # a side of the product that tells the machine's rate
FILE_RATE = 44_100  # Hz, what most sound files have


def matrix_product(
    size: int = PRODUCT,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], object]:
    """The product of two (size, size) matrices, whose time tells the machine's rate."""
    left, right = torch.randn(2, size, size).to(device, dtype)
    return lambda: torch.matmul(left, right)


def stages(
    model: SpectrogramTransformer, runner: Runner, batch_size: int, rounds: int, budget: float
) -> list[dict[str, Any]]:
    """Where the time goes from a file to probabilities; ms a clip, medians.

    Decoding and resampling are those of 44.1 kHz WAV files of the model's window; the filter bank
    and the model run a batch at a time.
    """
    clips = noise(batch_size, runner.window, FILE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{at}.wav" for at in range(batch_size)]
        for file, clip in zip(files, clips, strict=True):
            soundfile.write(file, clip, FILE_RATE)
        waveforms = [read(file)[: runner.window] for file in files]
        features, valid = model.features_from_waveforms(waveforms)
        calls: list[Callable[[], object]] = [
            lambda: [read(file) for file in files],
            lambda: [read((clip, FILE_RATE)) for clip in clips],
            lambda: model.features_from_waveforms(waveforms),
            lambda: model(features, valid),
        ]
        with torch.inference_mode():
            whole, resampled, heard, answered = (
                interleaved([call], rounds, budget, device=model.device)[0].seconds
                for call in calls
            )
    seconds = {
        "decode": max(0.0, whole - resampled),
        "resample": resampled,
        "filter bank": heard,
        "model": answered,
    }
    return [
        {"stage": name, "ms_per_clip": value / batch_size * 1000, "batch_size": batch_size}
        for name, value in seconds.items()
    ]
