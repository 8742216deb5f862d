"""What all filter banks share: batches of clips of different lengths, chunks on CPUs, and dtypes.

PyTorch on a CPU uses an FFT, which is faster there. Elsewhere the Fourier transform is a matrix
product: not every runtime has an FFT (ONNX Runtime, OpenVINO).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from .constants import SAMPLE_RATE
from .precision import float32_product

CACHED = 20 * SAMPLE_RATE  # samples that a CPU processes at a time: frames and spectra fill 8 MiB
FEW_ROWS = 16  # of a matrix product


class LogMel(nn.Module):
    """Waveforms to log-mel features; always in float32, also in a model of another dtype.

    The bits of a clip's features do not depend on its batch: random scores derive from them.
    """

    fourier: Tensor
    window: Tensor
    mel: Tensor
    shortest: int  # samples of the first frame

    def __init__(self) -> None:
        super().__init__()
        for name, matrix in self.matrices().items():
            self.register_buffer(name, matrix, persistent=False)

    @abstractmethod
    def matrices(self) -> dict[str, Tensor]:
        """The buffers "fourier", "window" and "mel", float32."""

    @abstractmethod
    def frames_of(self, lengths: Tensor) -> Tensor:
        """(batch,) samples to (batch,) frames that contain sound."""

    @abstractmethod
    def _log_mel(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """(batch, samples), silent past the (batch,) lengths, to (batch, frames, mels)."""

    @abstractmethod
    def _log_mel_by_fft(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The same as `_log_mel`, but with an FFT; without gradients."""

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute log-mel features.

        Args:
            waveforms: (batch, samples) float, mono, within about -1 to 1, at the front end's
                sample rate; samples past a clip's length are ignored.
            lengths: (batch,) number of samples of each clip; None: all of them.

        Returns:
            features: (batch, frames, mels) logarithms of mel energies, float32. Frames past a
                clip's own are not meaningful; `fit` replaces them.
            valid: (batch,) number of frames that contain sound.
        """
        if torch.is_autocast_enabled(waveforms.device.type):
            with torch.autocast(waveforms.device.type, enabled=False):
                return self(waveforms, lengths)
        waveforms = waveforms.float()
        if lengths is None:
            batch, samples = waveforms.shape  # not len(): an exporter would fix the batch
            lengths = waveforms.new_full((batch,), samples, dtype=torch.long)
        valid = self.frames_of(lengths)
        if waveforms.device.type != "cpu" or torch.compiler.is_compiling():
            return self._log_mel(_silenced(waveforms, lengths), lengths), valid
        # On a CPU, process a few clips at a time: allocating the frames of a whole batch takes
        # longer than the computation. Silence samples only if a clip is shorter than the batch.
        if bool((lengths < waveforms.shape[1]).any()):
            waveforms = _silenced(waveforms, lengths)
        few = max(1, CACHED // max(1, waveforms.shape[1]))
        chunks = zip(waveforms.split(few), lengths.split(few), strict=True)
        empty = len(waveforms) == 0 or waveforms.shape[1] < self.shortest
        plain = empty or (torch.is_grad_enabled() and waveforms.requires_grad)
        log_mel = self._log_mel if plain else self._log_mel_by_fft
        return torch.cat([log_mel(*chunk) for chunk in chunks]), valid

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Follow a move to another device, but no change of dtype: in bfloat16, log-mel would be
        # wrong by up to 1.7.
        device = fn(torch.empty(0, device=self.mel.device)).device
        if device != self.mel.device:
            for name, matrix in self.matrices().items():
                setattr(self, name, matrix.to(device))
        return self


def product(rows: Tensor, matrix: Tensor) -> Tensor:
    """The product of (batch, frames, n) and (n, m), each row with the same bits in any batch.

    Libraries multiply one to three rows by another routine, which rounds differently. So a few
    rows of zeros are added to a clip of one to three frames.
    """
    flat = rows.flatten(0, 1)
    missing = max(0, FEW_ROWS - len(flat))
    padded = nn.functional.pad(flat, (0, 0, 0, missing))
    return float32_product(padded, matrix)[: len(flat)].unflatten(0, rows.shape[:2])


def _silenced(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Set samples past each clip's length to 0."""
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    return torch.where(inside, waveforms, 0.0)
