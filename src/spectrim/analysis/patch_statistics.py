"""Mean and standard deviation of each patch's log-mel, in one order for all models."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..audio.filterbank import pad_with_minimum
from ..audio.front_ends import FrontEnd, front_end
from ..models.config import ModelConfig
from ..models.transformer import SpectrogramTransformer
from ..pruning.patches import PatchGrid

STATISTICS = ("mean", "std")  # intensity and variation


@dataclass(frozen=True)
class View:
    """The settings that determine patch statistics; models that share them share the clusters.

    All as in `ModelConfig`. Padding is not a setting here:
    it does not count, and patches without a valid frame have the clip's minimum.
    """

    frames: int
    mels: int
    stride: tuple[int, int]
    patch: tuple[int, int]
    mean: float
    std: float
    std_factor: float = 2.0
    front_end: str = "kaldi"
    mel_scale: tuple[float, ...] = ()
    mel_shift: tuple[float, ...] = ()

    @classmethod
    def of(cls, config: ModelConfig) -> View:
        """The view of a model."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def audio(self) -> FrontEnd:
        """The front end."""
        return front_end(self.front_end)

    @property
    def grid(self) -> PatchGrid:
        """Time-major, whatever the model's order: index = column * rows + row."""
        return PatchGrid(self.frames, self.mels, self.stride, False, self.patch)

    def order_of(self, model: SpectrogramTransformer) -> np.ndarray:
        """(patches,) index in this view of each patch of the model, in the model's order."""
        column, row = model.grid.locate(torch.arange(model.grid.count)).unbind(-1)
        return (column * self.grid.rows + row).numpy()


@dataclass(frozen=True)
class Patches:
    """Statistics of the patches of a batch of clips, in the order of a view.

    Attributes:
        values: (2, clips, patches) float64: mean and unbiased standard deviation of the
            normalised log-mel over the patch's valid frames, as the scores intensity and
            variation; the clip's minimum and 0 for a patch without a valid frame.
        sound: (clips, patches) bool: the patch holds at least one valid frame.
    """

    values: np.ndarray
    sound: np.ndarray


def patches_of(view: View, features: Tensor, valid: Tensor) -> Patches:
    """(clips, frames, mels) normalised log-mel and (clips,) valid frames to `Patches`."""
    features, valid = pad_with_minimum(features.float(), valid).cpu(), valid.cpu()
    mean, std = view.grid.mean_and_std(features.double(), valid)
    sound = view.grid.hold_sound(valid)
    return Patches(torch.stack([mean, std]).numpy(), sound.numpy())


class FeatureCache:
    """Features of a batch, computed once for all models that extract the same features."""

    def __init__(self, waveforms: list[np.ndarray]) -> None:
        self._waveforms = waveforms
        self._features: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def features(self, model: SpectrogramTransformer) -> tuple[Tensor, Tensor]:
        """As `model.features_from_waveforms`."""
        config = model.config
        key = (View.of(config), config.padding, model.device)
        if key not in self._features:
            self._features[key] = model.features_from_waveforms(self._waveforms)
        return self._features[key]
