"""Augmentation of waveforms and of log-mel features.

All random numbers come from the generator of one clip in one epoch, never from the state of a
worker. So a run can be continued at any step and divided among any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class WaveformAugment:
    """Circular roll, gain, mixup, and joining to at least `join` samples; see `Recipe`."""

    roll: bool = False
    gain: bool = False
    mixup: float = 0.0
    alpha: float = 10.0
    join: int = 0

    def __call__(
        self, load: Callable[[int], np.ndarray], position: int, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[int, float]]]:
        """One training waveform, and the positions and shares of the clips it is mixed from.

        Roll and gain act on each waveform before they are mixed. The second waveform is cut or
        zero-padded to the length of the first. The mean of each waveform is subtracted first.

        Args:
            load: from position to (samples,) float32.
            count: number of clips that a partner is drawn from.
        """
        is_mixed = rng.random() < self.mixup
        partner, share = int(rng.integers(count)), float(rng.beta(self.alpha, self.alpha))
        first = self._joined(self.roll_and_gain(load(position), rng), load, count, rng)
        if not is_mixed:
            return first, [(position, 1.0)]
        second = self.roll_and_gain(load(partner), rng)[: len(first)]
        mixed = share * first
        mixed[: len(second)] += (1 - share) * second
        return mixed - mixed.mean(), [(position, share), (partner, 1 - share)]

    def _joined(
        self,
        waveform: np.ndarray,
        load: Callable[[int], np.ndarray],
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A waveform, followed by others until there are `join` samples."""
        waveforms, samples = [waveform], len(waveform)
        while samples < self.join:
            waveforms.append(self.roll_and_gain(load(int(rng.integers(count))), rng))
            samples += len(waveforms[-1])
        return np.concatenate(waveforms)[: max(self.join, len(waveform))]

    def roll_and_gain(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) without its mean, with roll and gain."""
        waveform = waveform - waveform.mean()
        if self.roll:
            waveform = np.roll(waveform, int(rng.integers(len(waveform))))
        if self.gain:
            waveform = waveform * np.float32(rng.beta(10, 10) + 0.5)
        return waveform


@dataclass(frozen=True)
class FeatureAugment:
    """SpecAugment, noise, and a circular shift in time; see `Recipe`."""

    spec_time: int = 0
    spec_frequency: int = 0
    noise: float = 0.0
    shift: int = 0

    def draw(self, frames: int, mels: int, spec: bool, rng: np.random.Generator) -> Draw:
        """Draw the augmentation of one clip; `spec`: whether SpecAugment is on.

        Masks are drawn as in torchaudio: a real width up to the maximum, then a real start at
        which it fits, both truncated to integers.
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
    """Augmentation of one clip: masked frames and mel bins (from, to), noise, shift in frames."""

    time: tuple[int, int]
    frequency: tuple[int, int]
    noise: np.ndarray | None
    shift: int


def apply(features: Tensor, valid: Tensor, draws: list[Draw], fill: float) -> tuple[Tensor, Tensor]:
    """Mask, add noise and shift, in this order, on the device of the features.

    Args:
        features: (batch, frames, mels) normalised log-mel.
        valid: (batch,) number of frames that contain sound.
        fill: value of masked bins; SpecAugment fills with 0 before normalising, which is
            -mean / (2 std) afterwards.

    Returns:
        features and valid. A shift moves the end of the sound; sound that it moves around the
        edge of the window counts as padding.
    """
    device, (_, frames, mels) = features.device, features.shape
    masked = []
    for spans, size in (([d.time for d in draws], frames), ([d.frequency for d in draws], mels)):
        edges, positions = torch.tensor(spans, device=device), torch.arange(size, device=device)
        masked.append((positions >= edges[:, :1]) & (positions < edges[:, 1:]))
    if any(begin < end for d in draws for begin, end in (d.time, d.frequency)):
        features = torch.where(masked[0][:, :, None] | masked[1][:, None, :], fill, features)
    noises = [d.noise for d in draws if d.noise is not None]
    if noises:
        features = features + torch.from_numpy(np.stack(noises)).to(device)
    if any(d.shift for d in draws):
        shift = torch.tensor([d.shift for d in draws], device=device)
        positions = (torch.arange(frames, device=device) - shift[:, None]) % frames
        features = features.gather(1, positions[..., None].expand_as(features))
        valid = torch.where(valid < frames, (valid + shift).clamp(1, frames), valid)
    return features, valid


def _span(largest: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    width = rng.random() * min(largest, size)
    begin = int(rng.random() * (size - width))
    return begin, begin + int(width)
