"""Augmentation of waveforms and of log-mel features, batched, on any device.

The random numbers of a clip derive from the seed, the epoch and the position of the clip. So a run
can be continued at any step and divided among any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..audio.constants import MELS
from ..common.splitmix import numbers, unit
from .clip_bank import ClipBank, copied_to


@dataclass(frozen=True)
class Draws:
    """Random numbers of every clip of a list in one epoch, (clips,) each.

    Attributes:
        roll: rotation of the waveform, as a fraction of its length.
        gain: factor of the waveform.
        partner, share: position of the clip that is mixed with this one, and this clip's share;
            a clip that is not mixed has itself and 1.0.
        time, frequency: (clips, 2) masked frames and mel bins, from and to.
        shift: rotation of the features, in frames.
        amplitude: of the noise on the features.
        key: int64 seed of further random numbers: noise, masks and joined clips.
    """

    roll: Tensor
    gain: Tensor
    partner: Tensor
    share: Tensor
    time: Tensor
    frequency: Tensor
    shift: Tensor
    amplitude: Tensor
    key: Tensor

    def to(self, device: torch.device) -> Draws:
        """The same numbers on a device."""
        return Draws(*(copied_to(getattr(self, entry.name), device) for entry in fields(self)))


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training clips; the values are those of a recipe's `augment`.

    Roll and gain act on each clip before clips are joined or mixed. A clip has the same roll and
    gain wherever it sounds in an epoch.
    """

    roll: bool = False
    gain: bool = False
    mixup: float = 0.0
    mixup_alpha: float = 10.0
    spec_time: int = 0
    spec_frequency: int = 0
    noise: float = 0.0
    shift: int = 0

    def draw(self, clips: int, frames: int, rng: np.random.Generator, mels: int = MELS) -> Draws:
        """Draw the numbers of an epoch.

        SpecAugment's masks are drawn as in torchaudio: a real width up to the maximum, then a real
        start at which it fits, both truncated to integers.

        Args:
            frames, mels: of the features.
        """
        roll = rng.random(clips)
        gain = rng.beta(10, 10, clips) + 0.5
        is_mixed = rng.random(clips) < self.mixup
        partner = np.where(is_mixed, rng.integers(clips, size=clips), np.arange(clips))
        share = np.where(is_mixed, rng.beta(self.mixup_alpha, self.mixup_alpha, clips), 1.0)
        frequency = _spans(self.spec_frequency, mels, clips, rng)
        time = _spans(self.spec_time, frames, clips, rng)
        shift = (rng.random(clips) * 2 * self.shift).astype(np.int64) - self.shift
        amplitude = rng.uniform(0, self.noise, clips)
        key = rng.integers(-(2**63), 2**63 - 1, clips, endpoint=True)
        return Draws(
            torch.from_numpy(roll), torch.from_numpy(gain).float(), torch.from_numpy(partner),
            torch.from_numpy(share).float(), torch.from_numpy(time), torch.from_numpy(frequency),
            torch.from_numpy(shift), torch.from_numpy(amplitude).float(), torch.from_numpy(key),
        )  # fmt: skip

    def waveforms(
        self, bank: ClipBank, draws: Draws, positions: Tensor, followers: Tensor, samples: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Training waveforms of a batch.

        The waveform that is mixed with another one is cut or zero-padded to its length.

        Args:
            bank: holds the clips at `positions`, their partners and their followers.
            positions: (batch,) of the clips.
            followers: (batch, any) positions of clips that follow each clip in the window.
            samples: of the window.

        Returns:
            waveforms: (batch, samples) float32, zero past the end of each.
            lengths: (batch,) samples of each.
            share: (batch,) share of the clip itself; the rest is its partner's.
        """
        clips = torch.cat([positions[:, None], followers], 1)
        waveforms, lengths = self._joined(bank, draws, clips, samples)
        share = draws.share[positions]
        if not self.mixup:
            return waveforms, lengths, share
        partners = draws.partner[positions]
        second, second_lengths = self._joined(bank, draws, partners[:, None], samples)
        share = torch.where(second_lengths > 0, share, 1.0)  # its partner could not be read
        inside = torch.arange(samples, device=share.device) < lengths[:, None]
        mixed = share[:, None] * waveforms + (1 - share)[:, None] * second
        return torch.where(inside, mixed, 0.0), lengths, share

    def _joined(
        self, bank: ClipBank, draws: Draws, clips: Tensor, samples: int
    ) -> tuple[Tensor, Tensor]:
        """The clips of each row one after the other: (batch, samples), and (batch,) lengths."""
        rows = bank.rows(clips)
        starts, lengths = bank.starts[rows], bank.lengths[rows]
        rolls = (draws.roll[clips] * lengths).long() if self.roll else torch.zeros_like(lengths)
        gains = draws.gain[clips]
        ends = lengths.cumsum(1)
        time = torch.arange(samples, device=clips.device).expand(len(clips), -1)
        begins = ends - lengths
        if clips.shape[1] > 1:
            # (batch, samples): the clip in which each sample lies, and that clip's values.
            clip = torch.searchsorted(ends, time.contiguous(), right=True)
            clip = clip.clamp_(max=clips.shape[1] - 1)
            starts, lengths, rolls, gains, begins = (
                values.gather(1, clip) for values in (starts, lengths, rolls, gains, begins)
            )
        # Sample t of a clip that is rotated by r is its sample (t - r) modulo its length.
        source = time - begins - rolls
        source = torch.where(source < 0, source + lengths, source)
        inside = time < ends[:, -1:]
        waveforms = bank.samples[torch.where(inside, starts + source, 0)]
        if self.gain:
            waveforms = waveforms * gains
        return torch.where(inside, waveforms, 0.0), ends[:, -1].clamp(max=samples)

    def features(
        self,
        features: Tensor,
        valid: Tensor,
        draws: Draws,
        positions: Tensor,
        masked: bool,
        fill: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mask, add noise and shift, in this order.

        Args:
            features: (batch, frames, mels) normalised log-mel.
            valid: (batch,) number of frames that contain sound.
            positions: (batch,) of the clips.
            masked: whether SpecAugment is on.
            fill: (mels,) values of masked bins: SpecAugment's 0, normalised.

        Returns:
            features and valid. A shift moves the end of the sound; sound that it moves around the
            edge of the window counts as padding.
        """
        device, (_, frames, mels) = features.device, features.shape
        if masked and (self.spec_time or self.spec_frequency):
            time = _inside(draws.time[positions], frames)
            frequency = _inside(draws.frequency[positions], mels)
            features = torch.where(time[:, :, None] | frequency[:, None, :], fill, features)
        if self.noise:
            # Two numbers of 24 bits from each integer of 64.
            bits = numbers(draws.key[positions], -(-frames * mels // 2))
            noise = torch.cat([unit(bits), unit(bits, 16)], 1)[:, : frames * mels]
            noise = noise.mul_(draws.amplitude[positions, None]).view_as(features)
            features = features + noise
        if self.shift:
            shift = draws.shift[positions]
            source = (torch.arange(frames, device=device) - shift[:, None]) % frames
            features = features.gather(1, source[..., None].expand_as(features))
            valid = torch.where(valid < frames, (valid + shift).clamp(1, frames), valid)
        return features, valid


def _inside(spans: Tensor, size: int) -> Tensor:
    """(batch, 2) from and to, as (batch, size) bool."""
    index = torch.arange(size, device=spans.device)
    return (index >= spans[:, :1]) & (index < spans[:, 1:])


def _spans(largest: int, size: int, clips: int, rng: np.random.Generator) -> np.ndarray:
    """(clips, 2) int64: where masks of at most `largest` of `size` begin and end."""
    width = rng.random(clips) * min(largest, size)
    begin = (rng.random(clips) * (size - width)).astype(np.int64)
    return np.stack([begin, begin + width.astype(np.int64)], 1)
