"""Spectrim's feature extraction as a feature extractor of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin

from ...common.errors import SpectrimError
from ...models.config import ModelConfig
from ...models.features import FeatureExtraction
from ...models.normalise import Normalise

# Keys of a model's config that do not concern features.
OTHER_KEYS = ("labels", "name", "trained_range", "licence")


class _Extraction(FeatureExtraction):
    """The features of a model without its weights."""

    lengths = ()

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.filterbank = config.audio.filter_bank(config.mels)
        self.normalise = Normalise(config)


class SpectrimFeatureExtractor(FeatureExtractionMixin):
    """Sounds to the normalised log-mel features that a Spectrim model was trained on.

    Args:
        model: keys of `ModelConfig` that describe the features, such as frames, mean and std.
        kwargs: of `FeatureExtractionMixin`.
    """

    model_input_names = ("input_values", "attention_mask")

    def __init__(self, model: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        given = {"family": "ast"} if model is None else dict(model)
        kept = {key: value for key, value in given.items() if key not in OTHER_KEYS}
        config = ModelConfig.from_dict(kept | {"name": "features", "labels": ["class"]})
        kwargs.setdefault("sampling_rate", config.sample_rate)
        kwargs.setdefault("padding_value", 0.0)
        super().__init__(**kwargs)
        self.model, self._extraction = kept, _Extraction(config)

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Features of one or several sounds.

        Args:
            raw_speech: mono samples, (samples,) floats as an array, tensor or list, or a batch of
                them; or anything that `spectrim.tag` reads, such as paths and rows of a `datasets`
                data set with `Audio(decode=False)`.
            sampling_rate: of samples, in Hz; other rates than the model's are resampled. None:
                the model's.
            return_tensors: "pt", "np", or None for a list of arrays.
            kwargs: ignored, as in `ASTFeatureExtractor`.

        Returns:
            input_values: (batch, frames, mels) float32.
            attention_mask: (batch, frames) int64, 1 for frames that contain sound.

        Raises:
            SpectrimError: a sound that cannot be read, or is shorter than 25 ms.
        """
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        sounds = [(sound, rate) if _is_samples(sound) else sound for sound in _as_batch(raw_speech)]
        if not sounds:
            raise SpectrimError("the feature extractor received no sound; expected at least one.")
        features, valid = self._extraction.features(sounds)
        is_sound = torch.arange(features.shape[1]) < valid[:, None]
        data = {
            "input_values": list(features.numpy()),
            "attention_mask": list(is_sound.long().numpy()),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        extraction = self.__dict__.pop("_extraction")
        try:
            return super().to_dict()
        finally:
            self._extraction = extraction


def _as_batch(sounds: Any) -> Sequence[Any]:
    """A list of sounds, from one or several."""
    if isinstance(sounds, (np.ndarray, torch.Tensor)):
        return list(sounds) if sounds.ndim == 2 else [sounds]
    if isinstance(sounds, list) and (not sounds or not isinstance(sounds[0], (int, float))):
        return sounds
    if isinstance(sounds, Iterable) and hasattr(sounds, "__next__"):
        return list(sounds)
    return [sounds]


def _is_samples(sound: Any) -> bool:
    """Whether a sound is samples without their rate."""
    return isinstance(sound, (np.ndarray, torch.Tensor, list))
