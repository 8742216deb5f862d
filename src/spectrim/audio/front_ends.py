"""Front ends by name: the settings that turn waveforms into the log-mel a model was trained on.

This module imports no torch, because reading sound needs sample rates and lengths only. A new
front end is one entry of `FRONT_ENDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.errors import SpectrimError, nearest
from .constants import FFT, LOW_HZ, PRE_EMPHASIS, SAMPLE_RATE, SHIFT, WINDOW

if TYPE_CHECKING:
    from .log_mel import LogMel


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """Settings of a front end; lengths are in samples at its sample rate.

    Attributes:
        sample_rate: in Hz.
        window, hop, fft: of the Fourier transform.
        low_hz, high_hz: edges of the lowest and of the highest mel filter.
        scale: "kaldi", "htk" or "slaney", see `mel_filters`.
        area_norm: whether each filter is divided by its width (Slaney's norm).
        edges: samples beyond the ends of a clip: "cut" (Kaldi's snip edges: whole windows only),
            or windows centred on every hop, with "reflect" (the clip mirrored) or "zero" outside.
        periodic: whether the Hann window is periodic (its last zero is left out).
        pre_emphasis: x[t] - pre_emphasis * x[t - 1]; 0: none.
        logarithm: "natural" or "log10" of gain * energy + offset, or "decibels":
            10 log10(max(energy, offset)), raised to at least `dynamic_range` below the maximum.
    """

    sample_rate: int = SAMPLE_RATE
    window: int
    hop: int
    fft: int
    low_hz: float = 0.0
    high_hz: float
    scale: str
    area_norm: bool = False
    edges: str = "reflect"
    periodic: bool = True
    pre_emphasis: float = 0.0
    logarithm: str
    gain: float = 1.0
    offset: float = 0.0
    dynamic_range: float = 0.0

    @property
    def is_centred(self) -> bool:
        """Whether windows are centred on every hop, the first one on the first sample."""
        return self.edges != "cut"

    @property
    def subtracts_mean(self) -> bool:
        """Whether features do not depend on the mean of a clip's samples."""
        return not self.is_centred

    @property
    def lost(self) -> int:
        """Samples by which centred pre-emphasis shortens a clip."""
        return int(self.is_centred and self.pre_emphasis > 0)

    def num_frames(self, samples: int) -> int:
        """Number of frames of a clip."""
        if self.is_centred:
            return 0 if samples <= self.lost else 1 + (samples - self.lost) // self.hop
        return 0 if samples < self.window else 1 + (samples - self.window) // self.hop

    def num_samples(self, frames: int) -> int:
        """Number of samples that `frames` frames span.

        A longer sound may be cut to so many samples: its first `frames` frames stay the same,
        because no window of theirs reaches beyond. With centred windows, a few more frames begin
        within these samples, so `num_frames` of them is larger than `frames`.
        """
        reach = self.window // 2 if self.is_centred else self.window
        return (frames - 1) * self.hop + reach + self.lost

    def seconds(self, frames: int) -> float:
        """Seconds that `frames` frames span."""
        return self.num_samples(frames) / self.sample_rate

    def seconds_at(self, frame: float) -> float:
        """Seconds at the middle of a frame; a fraction lies between two frames."""
        middle = 0.0 if self.is_centred else self.window / 2
        return (frame * self.hop + middle) / self.sample_rate

    def filter_bank(self, mels: int) -> LogMel:
        """A module that computes this front end with a number of mel bins."""
        from .filterbank import FilterBank
        from .mel_spectrogram import MelSpectrogram

        return MelSpectrogram(self, mels) if self.is_centred else FilterBank(mels)


KALDI = FrontEnd(
    window=WINDOW, hop=SHIFT, fft=FFT, low_hz=LOW_HZ, high_hz=SAMPLE_RATE / 2, scale="kaldi",
    edges="cut", periodic=False, pre_emphasis=PRE_EMPHASIS, logarithm="natural",
)  # fmt: skip

FRONT_ENDS = {
    "kaldi": KALDI,  # AST, AudioMAE, SSAST, EAT, SSLAM
    "htk-mel": FrontEnd(  # CED, Dasheng: torchaudio's MelSpectrogram and AmplitudeToDB
        window=512, hop=160, fft=512, high_hz=8000, scale="htk",
        logarithm="decibels", offset=1e-10, dynamic_range=120,
    ),
    "slaney-mel": FrontEnd(  # MAEST, as the feature extractor in its hub folders
        window=512, hop=256, fft=512, high_hz=8000, scale="slaney", area_norm=True,
        edges="zero", logarithm="log10", gain=10_000, offset=1,
    ),
    "passt-mel": FrontEnd(
        sample_rate=32_000, window=800, hop=320, fft=1024, high_hz=15_000, scale="kaldi",
        periodic=False, pre_emphasis=0.97, logarithm="natural", offset=1e-5,
    ),
    "m2d-mel": FrontEnd(
        window=400, hop=160, fft=400, low_hz=50, high_hz=8000, scale="slaney", area_norm=True,
        logarithm="natural", offset=2.0**-23,
    ),
    "atst-mel": FrontEnd(
        window=1024, hop=160, fft=1024, low_hz=60, high_hz=7800, scale="htk",
        logarithm="decibels", offset=1e-10, dynamic_range=80,
    ),
}  # fmt: skip


def front_end(name: str) -> FrontEnd:
    """The front end of this name.

    Raises:
        SpectrimError: there is none; the nearest are offered.
    """
    if name not in FRONT_ENDS:
        raise SpectrimError(f"no front end is called {name!r}.{nearest(name, FRONT_ENDS)}")
    return FRONT_ENDS[name]
