"""Random draws for a training clip besides its waveform: feature changes and patches to keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..audio.constants import MELS
from ..data.augment import Draw, FeatureAugment
from ..pruning.patches import PatchGrid
from .recipe import AugmentPart, SchedulePart
from .schedules import masks_ended


class AugmentDraw(NamedTuple):
    """Changes of a clip's features, and (patches,) bool of the patches kept; None: all."""

    draw: Draw
    keep: np.ndarray | None


# From the epoch with its fraction and the clip's generator.
Drawer = Callable[[float, np.random.Generator], AugmentDraw]


def supervised_drawer(
    part: AugmentPart, grid: PatchGrid, frames: int, final_keep_rate: float, schedule: SchedulePart
) -> Drawer:
    """Draws for supervised training; masks end when pruning starts."""
    augment = _feature_augment(part)

    def draw(epoch: float, rng: np.random.Generator) -> AugmentDraw:
        masked = not masks_ended(epoch, final_keep_rate, schedule)
        changes = augment.draw(frames, MELS, masked, rng)
        keep = token_mask(grid, part.token_columns, part.token_rows, rng) if masked else None
        return AugmentDraw(changes, keep)

    return draw


def pretraining_drawer(part: AugmentPart, patches: int, frames: int, hidden: float) -> Drawer:
    """Draws for pre-training: `hidden` is the fraction of patches to reconstruct."""
    augment = _feature_augment(part)

    def draw(epoch: float, rng: np.random.Generator) -> AugmentDraw:
        changes = augment.draw(frames, MELS, True, rng)
        return AugmentDraw(changes, random_mask(patches, hidden, rng))

    return draw


def token_mask(
    grid: PatchGrid, columns: float, rows: float, rng: np.random.Generator
) -> np.ndarray | None:
    """(patches,) bool: a random int(columns * T) time columns and int(rows * F) frequency rows.

    AudioMAE's 2-D masking for fine-tuning (arXiv 2207.06405); None if everything is kept.
    """
    if columns >= 1 and rows >= 1:
        return None
    place = grid.locate(torch.arange(grid.count)).numpy()  # (patches, 2): column and row
    keep = np.ones(grid.count, bool)
    for axis, share, size in ((0, columns, grid.columns), (1, rows, grid.rows)):
        count = max(1, int(round(share * size, 6)))  # rounded first: 0.7 * 10 is 6.999... in float
        keep &= np.isin(place[:, axis], rng.permutation(size)[:count])
    return keep


def random_mask(patches: int, hidden: float, rng: np.random.Generator) -> np.ndarray:
    """(patches,) bool: int(patches * (1 - hidden)) patches that a masked auto-encoder sees."""
    seen = np.zeros(patches, bool)
    seen[rng.permutation(patches)[: max(1, int(round(patches * (1 - hidden), 6)))]] = True
    return seen


def _feature_augment(part: AugmentPart) -> FeatureAugment:
    return FeatureAugment(part.spec_time, part.spec_frequency, part.noise, part.shift)
