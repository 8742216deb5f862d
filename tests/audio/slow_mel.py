"""Mel spectrograms in numpy, frame by frame and filter by filter, from the definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Definition:
    """How a model's authors describe its features; written down apart from `FRONT_ENDS`."""

    rate: int
    fft: int
    window: int
    hop: int
    low: float
    high: float
    scale: str
    area: bool
    outside: Literal["reflect", "constant"]  # the samples beyond a clip's ends
    symmetric: bool
    emphasis: float
    logarithm: str


DEFINITIONS = {
    "htk-mel": Definition(
        16000, 512, 512, 160, 0, 8000, "htk", False, "reflect", False, 0, "dB 120"
    ),
    "slaney-mel": Definition(
        16000, 512, 512, 256, 0, 8000, "slaney", True, "constant", False, 0, "log10(1 + 10000 x)"
    ),
    "passt-mel": Definition(
        32000, 1024, 800, 320, 0, 15000, "kaldi", False, "reflect", True, 0.97, "ln(x + 1e-5)"
    ),
    "m2d-mel": Definition(
        16000, 400, 400, 160, 50, 8000, "slaney", True, "reflect", False, 0, "ln(x + eps)"
    ),
    "atst-mel": Definition(
        16000, 1024, 1024, 160, 60, 7800, "htk", False, "reflect", False, 0, "dB 80"
    ),
}


def slow_mel(samples: np.ndarray, name: str, mels: int) -> np.ndarray:
    """(frames, mels) float64 of (samples,)."""
    d = DEFINITIONS[name]
    samples = samples.astype(np.float64)
    if d.emphasis:
        samples = samples[1:] - d.emphasis * samples[:-1]
    padded = np.pad(samples, d.window // 2, mode=d.outside)
    window = hann(d.window, d.symmetric)
    transform = np.exp(
        -2j * np.pi * np.outer(np.arange(d.fft // 2 + 1), np.arange(d.window)) / d.fft
    )
    weights = filters(d, mels)
    rows = []
    for start in range(0, len(padded) - d.window + 1, d.hop):
        power = np.abs(transform @ (padded[start : start + d.window] * window)) ** 2
        rows.append([float(np.dot(weight, power)) for weight in weights])
    energy = np.array(rows)
    if d.logarithm.startswith("dB"):
        decibels = 10 * np.log10(np.maximum(energy, 1e-10))
        return np.maximum(decibels, decibels.max() - float(d.logarithm.split()[1]))
    formulas = {
        "log10(1 + 10000 x)": lambda x: np.log10(1 + 10000 * x),
        "ln(x + 1e-5)": lambda x: np.log(x + 1e-5),
        "ln(x + eps)": lambda x: np.log(x + np.finfo(np.float32).eps),
    }
    return formulas[d.logarithm](energy)


def hann(size: int, symmetric: bool) -> np.ndarray:
    """numpy's is symmetric; a periodic one is the first `size` of `size + 1` points.

    Rounded as torch rounds it in float32: a window that differs by 1e-7 leaks another share of
    loud low tones into quiet bins.
    """
    import torch

    exact = np.hanning(size) if symmetric else np.hanning(size + 1)[:-1]
    rounded = torch.hann_window(size, periodic=not symmetric).double().numpy()
    assert np.abs(exact - rounded).max() < 5e-7
    return rounded


def filters(d: Definition, mels: int) -> list[list[float]]:
    """For each filter its weight for each bin of the spectrum."""
    to_mel, to_hz = SCALES[d.scale]
    low, high = to_mel(d.low), to_mel(d.high)
    edges = [low + (high - low) * i / (mels + 1) for i in range(mels + 2)]
    hz = [bin * d.rate / d.fft for bin in range(d.fft // 2 + 1)]
    table = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        if d.scale == "kaldi":
            sides = [(to_mel(f), left, centre, right) for f in hz]
        else:
            sides = [(f, to_hz(left), to_hz(centre), to_hz(right)) for f in hz]
        weights = [max(0.0, min((x - a) / (b - a), (c - x) / (c - b))) for x, a, b, c in sides]
        if d.area:
            width = to_hz(right) - to_hz(left)
            weights = [weight * 2 / width for weight in weights]
        table.append(weights)
    return table


def slaney_mel(f: float) -> float:
    return 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)


def slaney_hz(m: float) -> float:
    return 200 * m / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)


SCALES = {
    "htk": (lambda f: 2595 * math.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)),
    "kaldi": (lambda f: 1127 * math.log(1 + f / 700), lambda m: 700 * (math.exp(m / 1127) - 1)),
    "slaney": (slaney_mel, slaney_hz),
}
