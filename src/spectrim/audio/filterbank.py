"""Log-mel filter bank: waveforms in, Kaldi-compatible features out, batched, on any device.

The same numbers as Kaldi's `compute-fbank-feats` with 128 mel bins, 25 ms "hanning" window,
10 ms shift, pre-emphasis 0.97, per-frame DC removal, 512-point FFT, 20 Hz to Nyquist, snip
edges, no dither, no energy. The Fourier transform is a matrix product, so that the one path
also runs where an FFT is not a given (ONNX Runtime, OpenVINO).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .constants import (
    FFT,
    LOG_FLOOR,
    LOW_HZ,
    MELS,
    PRE_EMPHASIS,
    SAMPLE_RATE,
    SHIFT,
    WINDOW,
)


class FilterBank(nn.Module):
    """Waveforms to log-mel features; float32 whatever dtype the model around it has."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fourier", fourier_matrix(), persistent=False)
        self.register_buffer("mel", mel_matrix(), persistent=False)

    fourier: Tensor
    mel: Tensor

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute log-mel features.

        Args:
            waveforms: (batch, samples) float, 16 kHz mono, within about -1 to 1; what lies
                past a clip's length is ignored.
            lengths: (batch,) number of samples of each clip; None: all of them.

        Returns:
            features: (batch, frames, 128) natural logarithm of mel energies, float32. Frames
                past a clip's own are not meaningful; `fit` replaces them.
            valid: (batch,) number of frames that are sound.
        """
        if torch.is_autocast_enabled(waveforms.device.type):
            with torch.autocast(waveforms.device.type, enabled=False):
                return self(waveforms, lengths)
        waveforms = waveforms.float()
        if lengths is None:
            batch, samples = waveforms.shape  # not len(): an exporter would fix the batch
            lengths = waveforms.new_full((batch,), samples, dtype=torch.long)
        inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
        waveforms = torch.where(inside, waveforms, 0.0)
        mean = waveforms.sum(1, keepdim=True) / lengths[:, None]
        frames = self._frames(torch.where(inside, waveforms - mean, 0.0))
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        frames = frames - PRE_EMPHASIS * previous
        real, imaginary = (frames @ self.fourier).chunk(2, -1)
        energy = (real.square() + imaginary.square()) @ self.mel
        valid = ((lengths - WINDOW) // SHIFT + 1).clamp(min=0)
        return energy.clamp(min=LOG_FLOOR).log(), valid

    @staticmethod
    def _frames(waveforms: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, 400), by slices, which every runtime has."""
        count = (waveforms.shape[1] - WINDOW) // SHIFT + 1
        shifts = nn.functional.pad(waveforms, (0, 2 * SHIFT))[:, : (count + 2) * SHIFT]
        shifts = shifts.unflatten(1, (count + 2, SHIFT))
        last = WINDOW - 2 * SHIFT
        return torch.cat([shifts[:, :-2], shifts[:, 1:-1], shifts[:, 2:, :last]], -1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FilterBank:
        # Follow a move to another device, never a change of dtype: bfloat16 log-mel is off by
        # up to 1.7.
        device = fn(torch.empty(0, device=self.mel.device)).device
        if device != self.mel.device:
            self.fourier = fourier_matrix().to(device)
            self.mel = mel_matrix().to(device)
        return self


def fit(features: Tensor, valid: Tensor, frames: int, padding: str) -> tuple[Tensor, Tensor]:
    """Cut or pad features to a fixed number of frames.

    Args:
        features: (batch, any, mels).
        valid: (batch,) frames that are sound.
        frames: length wanted.
        padding: "minimum" (of each clip's own sound) or "zero".

    Returns:
        features (batch, frames, mels) and valid (batch,), now at most `frames`.
    """
    valid = valid.clamp(max=frames)
    features = features[:, :frames]
    missing = frames - features.shape[1]
    if missing > 0:
        features = nn.functional.pad(features, (0, 0, 0, missing))
    if padding == "minimum":
        return pad_with_minimum(features, valid), valid
    return torch.where(sound(features, valid), features, 0.0), valid


def sound(features: Tensor, valid: Tensor) -> Tensor:
    """(batch, frames, 1) bool: which frames are sound."""
    return (torch.arange(features.shape[1], device=features.device) < valid[:, None])[..., None]


def pad_with_minimum(features: Tensor, valid: Tensor) -> Tensor:
    """Replace every frame that is not sound by the minimum of the clip's frames that are."""
    mask = sound(features, valid)
    minimum = torch.where(mask, features, math.inf).amin((1, 2), keepdim=True)
    minimum = torch.where(valid[:, None, None] > 0, minimum, 0.0)  # no sound, no minimum
    return torch.where(mask, features, minimum)


def fourier_matrix() -> Tensor:
    """(400, 2 * 257): Hann window times cosine and sine of the 512-point transform."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / (WINDOW - 1))
    k = torch.arange(FFT // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi / FFT * ((n[:, None] * k) % FFT)
    return (window[:, None] * torch.cat([angle.cos(), angle.sin()], 1)).float()


def mel_matrix() -> Tensor:
    """(257, 128) triangular filters, equally spaced in mel (Kaldi's `MelBanks`)."""

    low, high = (1127.0 * math.log1p(hz / 700.0) for hz in (LOW_HZ, SAMPLE_RATE / 2))
    edges = torch.linspace(low, high, MELS + 2, dtype=torch.float64)
    hz = torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT
    bins = 1127.0 * torch.log1p(hz / 700.0)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rise, fall).clamp(min=0)
    weights[-1] = 0  # Kaldi's filters leave the Nyquist bin out
    return weights.float()
