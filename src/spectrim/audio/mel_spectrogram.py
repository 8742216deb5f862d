"""Mel spectrograms with centred windows, as torchaudio, librosa, nnAudio and PaSST compute them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .log_mel import LogMel, product
from .mel_filters import mel_filters
from .precision import float32_product

if TYPE_CHECKING:
    from .front_ends import FrontEnd


class MelSpectrogram(LogMel):
    """A front end with centred windows; see `FrontEnd` for its settings.

    A clip's features depend on the clip only. torchaudio's `AmplitudeToDB` with `top_db` raises
    the quiet bins of a 2-D or 3-D batch to a floor below the maximum of the whole batch; here the
    floor is below the clip's own maximum.

    Args:
        settings: the front end. mels: number of mel bins.
    """

    def __init__(self, settings: FrontEnd, mels: int) -> None:
        self.settings, self.mels, self.shortest = settings, mels, settings.lost + 1
        super().__init__()

    def matrices(self) -> dict[str, Tensor]:
        """The buffers; only the bins of the spectrum that some filter uses."""
        settings = self.settings
        filters = mel_filters(
            settings.scale, self.mels, settings.sample_rate, settings.fft,
            settings.low_hz, settings.high_hz, settings.area_norm,
        )  # fmt: skip
        used = filters.any(1).nonzero()
        self.first, self.last = int(used[0]), int(used[-1])
        return {
            "fourier": self._fourier()[..., self.first : self.last + 1].float(),
            "window": self._hann(),
            "mel": filters[self.first : self.last + 1].float(),
        }

    def frames_of(self, lengths: Tensor) -> Tensor:
        """One frame at the first sample and one every hop after it."""
        samples = lengths - self.settings.lost
        return torch.where(samples > 0, samples // self.settings.hop + 1, 0)

    def _log_mel(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        frames = self._frames(self._extended(waveforms, lengths))
        real = float32_product(frames, self.fourier[0])
        imaginary = float32_product(frames, self.fourier[1])
        power = real.square() + imaginary.square()
        return self._logarithm(float32_product(power, self.mel), lengths)

    def _log_mel_by_fft(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        frames = self._extended(waveforms, lengths).unfold(1, len(self.window), self.settings.hop)
        spectrum = torch.fft.rfft(frames * self.window, self.settings.fft)
        squares = torch.view_as_real(spectrum[..., self.first : self.last + 1]).square()
        return self._logarithm(product(squares.sum(-1), self.mel), lengths)

    def _extended(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Pre-emphasise, and add half a window before and after each clip.

        (batch, samples) to (batch, samples - lost + window). A clip that is shorter than the batch
        is extended at its own end, so its features are the same in any batch.
        """
        settings = self.settings
        if settings.lost:
            waveforms = waveforms[:, 1:] - settings.pre_emphasis * waveforms[:, :-1]
            lengths = lengths - settings.lost
        half = settings.window // 2
        if settings.edges == "zero":
            return nn.functional.pad(waveforms, (half, half))
        # The clip mirrored at its first and at its last sample: -2, -1, 0, 1, ... become 2, 1, 0,
        # 1, ..., and with 5 samples ..., 3, 4, 5, 6 become 3, 4, 3, 2. Clamping serves clips
        # shorter than half a window, and frames past the end of a clip.
        places = torch.arange(-half, waveforms.shape[1] + half, device=waveforms.device).abs()
        last = (lengths - 1).clamp(min=0)[:, None]
        mirrored = torch.where(places > last, 2 * last - places, places)
        waveforms = nn.functional.pad(waveforms, (0, 1))  # a batch without samples has no place 0
        return waveforms.gather(1, mirrored.clamp(min=0))

    def _frames(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, window), with slices, which every runtime supports.

        A window of 512 and a hop of 160: frame i is the blocks i, i + 1, i + 2 of 160 samples and
        the first 32 samples of block i + 3.
        """
        window, hop = self.settings.window, self.settings.hop
        count = (waveforms.shape[1] - window) // hop + 1
        num_blocks = -(-window // hop)
        needed = (count + num_blocks - 1) * hop
        blocks = nn.functional.pad(waveforms, (0, num_blocks * hop))[:, :needed]
        blocks = blocks.unflatten(1, (count + num_blocks - 1, hop))
        shifted = [blocks[:, start : start + count] for start in range(num_blocks)]
        return torch.cat(shifted, -1)[..., :window]

    def _logarithm(self, energy: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, mels) energies to their logarithms."""
        settings = self.settings
        if settings.logarithm != "decibels":
            scaled = energy * settings.gain + settings.offset
            return scaled.log10() if settings.logarithm == "log10" else scaled.log()
        decibels = 10 * energy.clamp(min=settings.offset).log10()
        frames = torch.arange(energy.shape[1], device=energy.device)
        is_sound = (frames < self.frames_of(lengths)[:, None])[..., None]
        loudest = torch.where(is_sound, decibels, -math.inf).amax((1, 2), keepdim=True)
        return torch.maximum(decibels, loudest - settings.dynamic_range)

    def _hann(self) -> Tensor:
        """(window,) float32, with the rounding of `torch.hann_window`.

        Models were trained with this rounding: it moves a bin 100 dB below the loudest by 0.1 dB.
        """
        return torch.hann_window(self.settings.window, self.settings.periodic)

    def _fourier(self) -> Tensor:
        """(2, window, bins) float64: the Hann window times cosine and sine of the transform."""
        n = torch.arange(self.settings.window, dtype=torch.float64)
        k = torch.arange(self.settings.fft // 2 + 1, dtype=torch.float64)
        angle = 2 * math.pi / self.settings.fft * (n[:, None] * k % self.settings.fft)
        return self._hann().double()[:, None] * torch.stack([angle.cos(), angle.sin()])
