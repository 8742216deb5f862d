"""Feature extraction: sounds to the features that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..audio.channels import MIX, Channel
from ..audio.decode import Sound, as_sounds, blocks, check_length, sound_name
from ..audio.filterbank import fit_to_frames
from ..audio.log_mel import LogMel
from ..audio.windows import padded
from ..common.errors import SpectrimError

if TYPE_CHECKING:
    from .config import ModelConfig
    from .normalise import Normalise


class FeatureExtraction:
    """The part of a model that turns sounds into features."""

    config: ModelConfig
    filterbank: LogMel
    normalise: Normalise
    lengths: tuple[int, ...]
    length_for: Callable[[int], int]

    def features(
        self, sounds: Iterable[Sound] | Sound, channel: Channel = MIX
    ) -> tuple[Tensor, Tensor]:
        """Decode sounds and compute what `forward` takes.

        Args:
            sounds: one or several paths, bytes, open files, (samples, rate), or rows of datasets
                {"array", "sampling_rate"}. Torch tensors are channels first. They are converted to
                mono at the model's sample rate and cut to its window.
            channel: an index from 0, "mix" (the mean of all channels) or "loudest".

        Returns:
            features: (batch, frames, mels) normalised log-mel, float32, on the model's device.
                With `load(..., frames="auto")`, frames is the shortest of the model's lengths that
                holds the longest sound; otherwise it is the model's window.
            valid: (batch,) number of frames that contain sound.

        Raises:
            SpectrimError: a sound that cannot be read, or is shorter than 25 ms.
        """
        waveforms = [self._beginning(sound, channel) for sound in as_sounds(sounds)]
        return self.features_from_waveforms(waveforms)

    def features_from_waveforms(self, waveforms: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """As `features`, from mono float32 waveforms at the model's rate, (samples,) each."""
        device = self.filterbank.mel.device
        batch, lengths = padded(waveforms, self.config.window_samples)
        tensors = [torch.from_numpy(array) for array in (batch, lengths)]
        if device.type == "cuda":
            # From pinned memory the host does not wait for the copy.
            tensors = [tensor.pin_memory() for tensor in tensors]
        return self.features_from_batch(
            *(tensor.to(device, non_blocking=True) for tensor in tensors)
        )

    def features_from_batch(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `features_from_waveforms`, from (batch, samples) waveforms and (batch,) lengths.

        Waveforms are at most as long as the model's window.
        """
        features, valid = self.filterbank(waveforms, lengths)
        frames = self.config.frames
        if self.lengths:  # not while a graph is exported, where the number of samples is open
            frames = self.length_for(self.config.audio.num_frames(waveforms.shape[1]))
        features, valid = fit_to_frames(features, valid, frames, self.config.padding)
        return self.normalise(features), valid

    def _beginning(self, sound: Sound, channel: Channel) -> np.ndarray:
        """The samples of the model's window; the rest of a long sound is not decoded."""
        needed, decoded, num_decoded = self.config.window_samples, [], 0
        rate = self.config.sample_rate
        for block in blocks(sound, channel=channel, rate=rate):
            decoded.append(block)
            num_decoded += len(block)
            if num_decoded >= needed:
                break
        check_length(num_decoded, sound_name(sound), rate)
        return np.concatenate(decoded)[:needed]


def checked_valid(features: Tensor, valid: Tensor | None, config: ModelConfig) -> Tensor:
    """(batch,) valid frames on the device of (batch, frames, mels) features; None: all frames.

    Raises:
        SpectrimError: a shape that the model does not take.
    """
    expected = (config.frames, config.mels)
    if features.ndim != 3 or tuple(features.shape[1:]) != expected:
        raise SpectrimError(
            f"features of shape {tuple(features.shape)}; this model expects (batch, frames, "
            f"mels) = (batch, {expected[0]}, {expected[1]}). To change the length, load the "
            "model with frames=..."
        )
    if valid is None:
        return torch.full(
            (features.shape[0],), config.frames, dtype=torch.long, device=features.device
        )
    if valid.shape != features.shape[:1]:
        raise SpectrimError(
            f"valid has shape {tuple(valid.shape)}; expected one number of frames per clip, "
            f"({len(features)},)."
        )
    return valid.to(features.device)
