"""Short clips: a model at several lengths over one set of weights, and what a shorter one saves.

A clip that is padded to the window costs as much as a full one. Loaded with frames="auto", a model
runs a clip at the shortest of at most four lengths that holds it. Each patch keeps the position
that it has in the full window, so the result is that of the padded clip without its padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..common.errors import SpectrimError
from .config import ModelConfig
from .positions import adapt

if TYPE_CHECKING:
    from .transformer import SpectrogramTransformer

AUTO = "auto"
NUM_LENGTHS = 4


def lengths_of(config: ModelConfig) -> tuple[int, ...]:
    """Quarters of the window in frames, ascending, rounded up to whole patches."""
    quarters = (config.frames * part / NUM_LENGTHS for part in range(1, NUM_LENGTHS))
    return tuple(sorted({whole_patches(math.ceil(q), config) for q in quarters} | {config.frames}))


def is_automatic(frames: int | str | None) -> bool:
    """Whether the length is to be chosen for each clip.

    Raises:
        SpectrimError: another text than "auto".
    """
    if isinstance(frames, str) and frames != AUTO:
        raise SpectrimError(f"frames is {frames!r}; expected a number or {AUTO!r}.")
    return frames == AUTO


def whole_patches(frames: int, config: ModelConfig) -> int:
    """Frames rounded up to whole patches, at most the window."""
    patch = config.patch[1]
    return min(config.frames, patch * math.ceil(max(frames, patch) / patch))


class Lengths:
    """The part of a model that runs short clips at shorter lengths.

    Attributes:
        lengths: frames, ascending, among which `features` chooses; empty: the window alone.
    """

    config: ModelConfig
    lengths: tuple[int, ...] = ()
    _shorter: dict[int, SpectrogramTransformer] | None = None

    def set_lengths(self, lengths: Iterable[int]) -> None:
        """Let `features` choose among these lengths, in frames; the window is always one.

        Raises:
            SpectrimError: a length below one patch or above the window.
        """
        chosen = sorted({*lengths, self.config.frames})
        for frames in chosen:
            self._check_length(frames)
        self.lengths = tuple(chosen) if len(chosen) > 1 else ()
        self._shorter = {}

    def length_for(self, frames: int) -> int:
        """The shortest length that holds this many frames; the window if none does."""
        fitting = (length for length in self.lengths if length >= frames)
        return next(fitting, self.config.frames)

    def with_frames(self, frames: int) -> SpectrogramTransformer:
        """A model of a shorter window over the same weights; this model keeps its own.

        Each patch keeps the position that it has at the beginning of the full window. `load` with
        a number of frames adapts the positions as AST does for training instead.

        Raises:
            SpectrimError: a length below one patch or above the window.
        """
        return self._resized(frames, "first")

    def adapted(self, frames: int) -> SpectrogramTransformer:
        """As `with_frames`, with the positions that `load(..., frames=frames)` gives."""
        return self._resized(frames, self.config.positions_kept)

    def of_length(self, frames: int) -> SpectrogramTransformer:
        """The model that takes features of one of `lengths`, made once; for the window, itself."""
        model = cast("SpectrogramTransformer", self)
        if frames == self.config.frames:
            return model
        if self._shorter is None:
            self._shorter = {}
        shorter = self._shorter.get(frames)
        # A move to another device or dtype reaches the shared weights, but not the positions.
        is_current = shorter is not None and (
            shorter.positions.device == model.positions.device
            and shorter.positions.dtype == model.positions.dtype
            and (shorter.compiled is None) == (model.compiled is None)
        )
        if shorter is None or not is_current:
            shorter = self._shorter[frames] = self.with_frames(frames)
            if model.compiled is not None:
                shorter.compile(**model.compiled.options)
        return shorter

    def _of_features(self, features: Tensor) -> SpectrogramTransformer:
        """The model for (batch, frames, mels); other shapes are left to this model to refuse."""
        frames = features.shape[1] if self.lengths and features.ndim == 3 else self.config.frames
        return self.of_length(frames if frames in self.lengths else self.config.frames)

    def _resized(self, frames: int, kept: str) -> SpectrogramTransformer:
        self._check_length(frames)
        config = replace(self.config, frames=frames)
        model = cast("SpectrogramTransformer", self)
        resized = model.with_plan(model.plan).eval()
        resized.lengths, resized._shorter = (), None
        resized.config, resized.grid = config, config.grid
        with torch.inference_mode(False), torch.no_grad():
            positions = adapt(
                model.positions.detach(),
                config.num_prefix_tokens,
                self.config.grid,
                config.grid,
                kept,
            )
            resized.positions = nn.Parameter(positions.clone(), requires_grad=False)
        return resized

    def _check_length(self, frames: int) -> None:
        patch = self.config.patch[1]
        if not patch <= frames <= self.config.frames:
            raise SpectrimError(
                f"a length of {frames} frames; expected {patch} to {self.config.frames}, the "
                "window of the model. For a longer window, load the model with frames=..."
            )
