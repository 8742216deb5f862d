"""Log-mel filter bank: waveforms in, Kaldi-compatible features out, batched, on any device.

The same numbers as Kaldi's `compute-fbank-feats` with 25 ms "hanning" window, 10 ms shift,
pre-emphasis 0.97, per-frame DC removal, 512-point FFT, 20 Hz to Nyquist, snip edges, no dither, no
energy, and any number of mel bins. PyTorch on a CPU uses an FFT, which is faster there. Elsewhere
the Fourier transform is a matrix product: not every runtime has an FFT (ONNX Runtime, OpenVINO).
`benchmarks/filterbank.py` times both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .constants import FFT, LOG_FLOOR, LOW_HZ, MELS, PRE_EMPHASIS, SAMPLE_RATE, SHIFT, WINDOW
from .log_mel import LogMel, product
from .mel_filters import mel_filters
from .precision import float32_product


class FilterBank(LogMel):
    """Kaldi's log-mel: natural logarithms of mel energies. `mels` is the number of bins."""

    shortest = WINDOW

    def __init__(self, mels: int = MELS) -> None:
        self.mels = mels
        super().__init__()

    def matrices(self) -> dict[str, Tensor]:
        """The buffers, float32."""
        return {
            "fourier": fourier_matrix(),
            "window": hann_window().float(),
            "mel": mel_matrix(self.mels),
        }

    def frames_of(self, lengths: Tensor) -> Tensor:
        """Whole windows only (Kaldi's snip edges)."""
        return ((lengths - WINDOW) // SHIFT + 1).clamp(min=0)

    def _log_mel(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """(batch, samples), silent past the (batch,) lengths, to (batch, frames, mels)."""
        front, back = self._halves(_centred(waveforms, lengths))
        real = float32_product(front + back, self.fourier[0])
        imaginary = float32_product(front.sub_(back), self.fourier[1])
        energy = float32_product(real.square_().addcmul_(imaginary, imaginary), self.mel)
        return energy.clamp_(min=LOG_FLOOR).log_()

    def _log_mel_by_fft(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The same as `_log_mel`, but with frames and an FFT, as in Kaldi.

        The bits of a clip's features do not depend on its batch: random scores derive from them.
        """
        # In float64, because the rounding of the sum depends on the number of zeros behind a clip.
        waveforms = _centred(waveforms, lengths, torch.float64)
        before = nn.functional.pad(waveforms, (1, 0))[:, :-1]
        rises = (waveforms - before).add_(before, alpha=1 - PRE_EMPHASIS)
        means = waveforms.unfold(1, WINDOW, SHIFT).mean(-1, keepdim=True)
        frames = waveforms.new_zeros(*means.shape[:2], FFT)
        inside = frames[..., :WINDOW]
        # Kaldi subtracts the mean before pre-emphasis, which reduces it to (1 - 0.97) of itself.
        torch.sub(rises.unfold(1, WINDOW, SHIFT), means, alpha=1 - PRE_EMPHASIS, out=inside)
        inside.mul_(self.window)
        power = torch.view_as_real(torch.fft.rfft(frames)).square_()[..., : FFT // 2, :]
        energy = product(power[..., 0] + power[..., 1], self.mel)
        return energy.clamp_(min=LOG_FLOOR).log_()

    @staticmethod
    def _halves(waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) to both halves of each frame, (batch, frames, 200) each.

        `front` holds a frame's samples 0, 1, ... 199, `back` its samples 399, 398, ... 200.
        Column n holds the two samples at the same distance from the frame's middle. Only slices
        are used, which every runtime supports.

        Samples are pre-emphasised once for all frames. The window is zero at a frame's samples 0
        and 399, so column 0 is free: it holds the frame's mean (which the matrix subtracts from
        the others) and 0. Subtracting a loud rumble's mean in the matrix alone would make errors
        of quiet parts five times as large.

        A frame starts every SHIFT = 160 samples and is 400 long: blocks i and i + 1 of 160, and
        the first 80 of block i + 2. Of frame i,
            front = mean, block i [1:160], block i + 1 [0:40]            (1 + 159 + 40 = 200)
            back  = 0, block i + 2 [78..0], block i + 1 [159..40]        (1 + 79 + 120 = 200)
        """
        count = (waveforms.shape[1] - WINDOW) // SHIFT + 1
        # One sample before the first, for pre-emphasis; zeros behind, to fill the last block.
        waveforms = nn.functional.pad(waveforms, (1, 2 * SHIFT))[:, : (count + 2) * SHIFT + 1]
        sounds, before = waveforms[:, 1:], waveforms[:, :-1]
        rises = (sounds - before).add_(before, alpha=1 - PRE_EMPHASIS)  # rounds less than 0.97
        sounds = sounds.unflatten(1, (count + 2, SHIFT))
        rises = rises.unflatten(1, (count + 2, SHIFT))
        turned, last, half = rises.flip(-1), WINDOW - 2 * SHIFT, WINDOW // 2
        # The mean from sums of blocks, each computed once for the frames that share it.
        sums, ends = sounds.sum(-1, keepdim=True), sounds[:, 2:, :last].sum(-1, keepdim=True)
        mean = (sums[:, :-2] + sums[:, 1:-1] + ends) / WINDOW
        front = [mean, rises[:, :-2, 1:], rises[:, 1:-1, : half - SHIFT]]
        back = [torch.zeros_like(mean), turned[:, 2:, 1 - last :], turned[:, 1:-1, : half - last]]
        return torch.cat(front, -1), torch.cat(back, -1)


def _centred(waveforms: Tensor, lengths: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Subtract each clip's mean. Frames subtract their own mean later; this reduces rounding."""
    means = waveforms.sum(1, keepdim=True, dtype=dtype) / lengths[:, None].clamp(min=1)
    return waveforms - means.to(waveforms.dtype)


def fit_to_frames(
    features: Tensor, valid: Tensor, frames: int, padding: str
) -> tuple[Tensor, Tensor]:
    """Cut or pad features to a fixed number of frames.

    Args:
        features: (batch, any, mels).
        valid: (batch,) number of frames that contain sound.
        frames: number of frames to return.
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
    """(batch, frames, 1) bool: which frames contain sound."""
    return (torch.arange(features.shape[1], device=features.device) < valid[:, None])[..., None]


def pad_with_minimum(features: Tensor, valid: Tensor) -> Tensor:
    """Replace every frame without sound by the minimum over the clip's frames with sound."""
    mask = sound(features, valid)
    minimum = torch.where(mask, features, math.inf).amin((1, 2), keepdim=True)
    minimum = torch.where(valid[:, None, None] > 0, minimum, 0.0)  # no sound, no minimum
    return torch.where(mask, features, minimum)


def hann_window() -> Tensor:
    """(400,) float64, 0 at both ends (Kaldi's "hanning")."""
    n = torch.arange(WINDOW, dtype=torch.float64)
    return 0.5 - 0.5 * torch.cos(2 * math.pi * n / (WINDOW - 1))


def fourier_matrix() -> Tensor:
    """(2, 200, 256): sums of a frame's mirrored samples to real parts, differences to imaginary.

    The matrix is the Hann window times cosine and sine of the 512-point transform, without the bin
    at Nyquist. Phases count from the middle of the frame, which does not change the power. The
    window and each cosine are then even about the middle, and each sine is odd. So the sums and
    differences of mirrored samples suffice, and the product needs half the multiplications. Row 0
    multiplies the frame's mean m: Kaldi pre-emphasises x - m, which equals the pre-emphasised x
    minus (1 - 0.97) m.
    """
    n = torch.arange(WINDOW // 2, dtype=torch.float64)
    window = hann_window()[: WINDOW // 2]
    k = torch.arange(FFT // 2, dtype=torch.float64)
    angle = 2 * math.pi / FFT * (n[:, None] - (WINDOW - 1) / 2) * k
    matrix = window[:, None] * torch.stack([angle.cos(), angle.sin()])
    matrix[0, 0] = -(1 - PRE_EMPHASIS) * 2 * matrix[0, 1:].sum(0)
    return matrix.float()


def mel_matrix(mels: int = MELS) -> Tensor:
    """(256, mels) triangular filters, equally spaced in mel (Kaldi's `MelBanks`).

    There is no row for the bin at Nyquist, because Kaldi's filters ignore it.
    """
    return mel_filters("kaldi", mels, SAMPLE_RATE, FFT, LOW_HZ, SAMPLE_RATE / 2)[:-1].float()
