"""The grid of patches on a spectrogram, in the patch order of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.errors import SpectrimError

PATCH = 16  # frames and mel bins along a patch's sides, unless a model has others


@dataclass(frozen=True)
class PatchGrid:
    """The patches that a model cuts out of (frames, mels) features.

    Attributes:
        frames, mels: size of the features.
        stride: (frequency, time) distance between neighbouring patches, in bins and frames.
        frequency_major: True (AST): index = row * columns + column; False (AudioMAE):
            index = column * rows + row. Columns run along time, rows along frequency.
        patch: (frequency, time) size of a patch, in bins and frames.
    """

    frames: int
    mels: int = 128
    stride: tuple[int, int] = (PATCH, PATCH)
    frequency_major: bool = True
    patch: tuple[int, int] = (PATCH, PATCH)

    def __post_init__(self) -> None:
        bins, frames = self.patch
        if self.frames < frames or self.mels < bins or min(*self.stride, bins, frames) < 1:
            raise SpectrimError(
                f"no patch fits {self.frames} frames of {self.mels} mel bins at stride "
                f"{self.stride}. Use at least {frames} frames, {bins} bins and a stride of 1."
            )

    @property
    def patch_size(self) -> int:
        """Values of a patch."""
        return self.patch[0] * self.patch[1]

    @property
    def columns(self) -> int:
        """Patches along time."""
        return (self.frames - self.patch[1]) // self.stride[1] + 1

    @property
    def rows(self) -> int:
        """Patches along frequency."""
        return (self.mels - self.patch[0]) // self.stride[0] + 1

    @property
    def count(self) -> int:
        """Patches of one clip."""
        return self.columns * self.rows

    def locate(self, index: Tensor) -> Tensor:
        """Patch indices (...) to (..., 2) integers: time column, frequency row."""
        if self.frequency_major:
            row, column = index // self.columns, index % self.columns
        else:
            column, row = index // self.rows, index % self.rows
        return torch.stack([column, row], -1)

    def index(self, column: int, row: int) -> int:
        """The patch index at a time column and a frequency row."""
        return row * self.columns + column if self.frequency_major else column * self.rows + row

    def cut(self, features: Tensor) -> Tensor:
        """(batch, frames, mels) to (batch, patches, patch_size), in this grid's order."""
        bins, frames = self.patch
        cells = features.unfold(1, frames, self.stride[1]).unfold(2, bins, self.stride[0])
        return self.flatten(cells).flatten(2)

    def flatten(self, cells: Tensor) -> Tensor:
        """(batch, columns, rows, ...) to (batch, patches, ...), in this grid's order."""
        if self.frequency_major:
            cells = cells.transpose(1, 2)
        return cells.flatten(1, 2)

    def valid_frames(self, valid: Tensor) -> Tensor:
        """(batch,) valid frames of clips to (batch, patches) valid frames of patches, from 0."""
        starts = torch.arange(self.columns, device=valid.device) * self.stride[1]
        columns = (valid[:, None] - starts).clamp(0, self.patch[1])
        return self.flatten(columns[:, :, None].expand(-1, -1, self.rows))

    def hold_sound(self, valid: Tensor) -> Tensor:
        """(batch,) valid frames to (batch, patches) bool: the patch contains a valid frame."""
        return self.valid_frames(valid) > 0

    def mean_and_std(self, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and unbiased standard deviation of each patch, over valid frames only.

        The last patch of a clip is part sound, part padding. With the padding, its standard
        deviation would measure the jump between the two, whatever the sound is like.

        Args:
            features: (batch, frames, mels).
            valid: (batch,) number of frames that contain sound.

        Returns:
            Two tensors (batch, patches). A patch without a valid frame has the mean of its padding
            in `features` and a standard deviation of 0.
        """
        cells = self.cut(features)
        frames = self.valid_frames(valid)
        # A patch is flattened as frame * bins + bin.
        bins = self.patch[0]
        frame = torch.arange(self.patch_size, device=features.device) // bins
        inside = frame < frames[..., None]
        # Differences from the patch's first value make a constant patch exact, whatever the number
        # of its valid frames: mean = that value, standard deviation = 0. So ties stay ties.
        first = cells[..., :1]
        deviations = torch.where(inside, cells - first, 0.0)
        values = (frames * bins).clamp(min=2)[..., None].to(cells.dtype)
        mean = deviations.sum(-1, keepdim=True) / values
        squares = torch.where(inside, deviations - mean, 0.0).square().sum(-1, keepdim=True)
        std = (squares / (values - 1)).sqrt()
        return (first + mean).squeeze(-1), std.squeeze(-1)
