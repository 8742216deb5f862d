"""Triangular mel filters from three formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Formula = Callable[[Tensor], Tensor]

SLANEY_HZ = 200 / 3  # Hz per mel below 1000 Hz
SLANEY_BREAK = 1000.0  # Hz
SLANEY_STEP = math.log(6.4) / 27  # logarithm of the ratio of frequencies one mel apart, above


def mel_filters(
    scale: str,
    mels: int,
    sample_rate: int,
    fft: int,
    low_hz: float,
    high_hz: float,
    area_norm: bool = False,
) -> Tensor:
    """(fft // 2 + 1, mels) float64: weights of the bins of a power spectrum in each filter.

    Filters are triangles with their edges at equal distances in mel. A triangle's sides are
    straight in hertz, except Kaldi's, which are straight in mel. The formulas are
        kaldi: 1127 ln(1 + f / 700) (`MelScale` in Kaldi's feat/mel-computations.h),
        htk: 2595 log10(1 + f / 700) (The HTK Book, section 5.4), which is Kaldi's times a
            constant, so the edges are the same,
        slaney: f * 3 / 200 below 1000 Hz, then 15 + 27 log(f / 1000) / log(6.4) (Slaney's
            Auditory Toolbox, as librosa reads it).

    Args:
        area_norm: multiply each filter by 2 / (its width in Hz), as Slaney's toolbox does.
    """
    hz = torch.arange(fft // 2 + 1, dtype=torch.float64) * sample_rate / fft
    to_mel, to_hz = SCALES[scale]
    low, high = to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, mels + 2, dtype=torch.float64)
    if scale == "kaldi":
        filters = triangles(to_mel(hz), edges)
        if fft % 2 == 0:
            filters[-1] = 0  # Kaldi leaves out the bin at half the sample rate
    else:
        edges = to_hz(edges)
        filters = triangles(hz, edges)
    if area_norm:
        filters *= 2 / (edges[2:] - edges[:-2])
    return filters


def triangles(positions: Tensor, edges: Tensor) -> Tensor:
    """(positions, filters): filter i rises from edge i to 1 at edge i + 1 and falls to i + 2."""
    positions = positions[:, None]
    rise = (positions - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - positions) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def _htk(hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hz / 700.0)


def _htk_hz(mel: Tensor) -> Tensor:
    return 700.0 * torch.expm1(mel / 1127.0)


def _slaney(hz: Tensor) -> Tensor:
    above = SLANEY_BREAK / SLANEY_HZ + torch.log(hz.clamp(min=1) / SLANEY_BREAK) / SLANEY_STEP
    return torch.where(hz < SLANEY_BREAK, hz / SLANEY_HZ, above)


def _slaney_hz(mel: Tensor) -> Tensor:
    above = SLANEY_BREAK * torch.exp((mel - SLANEY_BREAK / SLANEY_HZ) * SLANEY_STEP)
    return torch.where(mel < SLANEY_BREAK / SLANEY_HZ, mel * SLANEY_HZ, above)


SCALES: dict[str, tuple[Formula, Formula]] = {
    "kaldi": (_htk, _htk_hz),
    "htk": (_htk, _htk_hz),
    "slaney": (_slaney, _slaney_hz),
}
