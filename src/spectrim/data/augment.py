"""What training does to a clip, before and after its log-mel.

Everything is drawn from the generator of one clip in one epoch, never from the state of a worker,
so that a run can be taken up anywhere and divided among any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class WaveformAugment:
    """Of waveforms: circular roll, gain, mixup, joining up to `join` samples; see `Recipe`."""

    roll: bool = False
    gain: bool = False
    mixup: float = 0.0
    alpha: float = 10.0
    join: int = 0

    def __call__(
        self, load: Callable[[int], np.ndarray], position: int, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[int, float]]]:
        """One training waveform and the clips it is made of, each with its share.

        Roll and gain act on each waveform before the mixture. The second is cut or zero-padded
        to the length of the first; the means are subtracted before, as the filter bank's own
        subtraction comes after.

        Args:
            load: position to (samples,) float32.
            count: of clips that a partner is drawn from.
        """
        mixes = rng.random() < self.mixup
        partner, share = int(rng.integers(count)), float(rng.beta(self.alpha, self.alpha))
        first = self._joined(self._turned(load(position), rng), load, count, rng)
        if not mixes:
            return first, [(position, 1.0)]
        second = self._turned(load(partner), rng)[: len(first)]
        mixed = share * first
        mixed[: len(second)] += (1 - share) * second
        return mixed - mixed.mean(), [(position, share), (partner, 1 - share)]

    def alone(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) with roll and gain only, where another clip cannot be had."""
        return self._turned(waveform, rng)

    def _joined(
        self,
        waveform: np.ndarray,
        load: Callable[[int], np.ndarray],
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A short waveform, followed by others until there are `join` samples."""
        parts, have = [waveform], len(waveform)
        while have < self.join:
            parts.append(self._turned(load(int(rng.integers(count))), rng))
            have += len(parts[-1])
        return np.concatenate(parts)[: max(self.join, len(waveform))]

    def _turned(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        waveform = waveform - waveform.mean()
        if self.roll:
            waveform = np.roll(waveform, int(rng.integers(len(waveform))))
        if self.gain:
            waveform = waveform * np.float32(rng.beta(10, 10) + 0.5)
        return waveform


@dataclass(frozen=True)
class FeatureAugment:
    """Of log-mel features: SpecAugment, noise, a turn in time; see `Recipe`."""

    spec_time: int = 0
    spec_frequency: int = 0
    noise: float = 0.0
    shift: int = 0

    def draw(self, frames: int, mels: int, spec: bool, rng: np.random.Generator) -> Draw:
        """What happens to one clip; `spec`: whether SpecAugment is still on.

        Widths and places are drawn as torchaudio's masks draw them: a real width up to the
        largest, a real place where it fits, both cut to integers.
        """
        time, frequency = (0, 0), (0, 0)
        if spec:
            frequency = _span(self.spec_frequency, mels, rng)
            time = _span(self.spec_time, frames, rng)
        noise = None
        if self.noise:
            amplitude = np.float32(rng.uniform(0, self.noise))
            noise = rng.random((frames, mels), dtype=np.float32) * amplitude
        shift = int(rng.integers(-self.shift, self.shift)) if self.shift else 0
        return Draw(time, frequency, noise, shift)


@dataclass(frozen=True)
class Draw:
    """What happens to one clip: masked frames and mel bins (from, to), noise, turn in frames."""

    time: tuple[int, int]
    frequency: tuple[int, int]
    noise: np.ndarray | None
    shift: int


def apply(features: Tensor, valid: Tensor, draws: list[Draw], fill: float) -> tuple[Tensor, Tensor]:
    """Mask, add noise, turn, in this order, on the features' device.

    Args:
        features: (batch, frames, mels) normalised log-mel.
        valid: (batch,) frames that are sound.
        fill: what masked bins become; SpecAugment fills with 0 before normalising, which is
            -mean / (2 std) after.

    Returns:
        features and valid. A turn moves the sound's end; sound that it moves around the
        window's edge counts as padding.
    """
    device, (_, frames, mels) = features.device, features.shape
    masked = []
    for spans, size in (([d.time for d in draws], frames), ([d.frequency for d in draws], mels)):
        edges, places = torch.tensor(spans, device=device), torch.arange(size, device=device)
        masked.append((places >= edges[:, :1]) & (places < edges[:, 1:]))
    if any(begin < end for d in draws for begin, end in (d.time, d.frequency)):
        features = torch.where(masked[0][:, :, None] | masked[1][:, None, :], fill, features)
    noises = [d.noise for d in draws if d.noise is not None]
    if noises:
        features = features + torch.from_numpy(np.stack(noises)).to(device)
    if any(d.shift for d in draws):
        shift = torch.tensor([d.shift for d in draws], device=device)
        places = (torch.arange(frames, device=device) - shift[:, None]) % frames
        features = features.gather(1, places[..., None].expand_as(features))
        valid = torch.where(valid < frames, (valid + shift).clamp(1, frames), valid)
    return features, valid


def _span(largest: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    width = rng.random() * min(largest, size)
    begin = int(rng.random() * (size - width))
    return begin, begin + int(width)
