"""One pass over the clips for many variants of a model: features are computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..audio.constants import SAMPLE_RATE, SHIFT, WINDOW, samples_of
from ..data.batches import batches
from ..data.manifest import Clip
from ..models.transformer import SpectrogramTransformer
from ..pruning.grid import PATCH, Grid


@dataclass
class Predictions:
    """What variants of a model say about clips.

    Attributes:
        positions: (clips that could be read,) places in the list.
        logits: one (clips, classes) float32 array a variant.
        on_target: one (clips,) array a variant: share of the finally kept patches whose time
            column's centre lies on the target; NaN where a clip has none.
        all_on_target: (clips,) the share that all patches have there.
        failures: (place in the list, message) of clips that could not be read.
        sample: features and valid frames of the first batch, for timing.
    """

    positions: list[int] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)
    on_target: list[np.ndarray] = field(default_factory=list)
    all_on_target: np.ndarray = field(default_factory=lambda: np.zeros(0))
    failures: list[tuple[int, str]] = field(default_factory=list)
    sample: tuple[Tensor, Tensor] | None = None


@torch.inference_mode()
def predict(
    variants: Sequence[SpectrogramTransformer],
    clips: Sequence[Clip],
    batch_size: int,
    tick: Callable[[int], None] = lambda clips: None,
) -> Predictions:
    """Run all variants (over the same weights) on all clips.

    Args:
        tick: called with the number of clips done, after each batch.
    """
    model, found = variants[0], Predictions()
    grid = model.config.grid
    logits: list[list[np.ndarray]] = [[] for _ in variants]
    shares: list[list[np.ndarray]] = [[] for _ in variants]
    every: list[np.ndarray] = []
    seconds = samples_of(model.config.frames) / SAMPLE_RATE + 0.1
    for batch in batches(clips, batch_size, seconds):
        found.failures.extend(batch.failures)
        if batch.positions:
            features, valid = model.features_of(batch.waveforms)
            if found.sample is None:
                found.sample = (features, valid)
            target = on_target(grid, [clips[at] for at in batch.positions])
            every.append(target.mean(1))
            for at, variant in enumerate(variants):
                tokens = variant.encode(features, valid)
                output = variant.head(variant.pool(tokens)).float()
                logits[at].append(output.cpu().numpy())
                kept = tokens.origin.cpu().numpy()
                shares[at].append(np.take_along_axis(target, kept, 1).mean(1))
            found.positions.extend(batch.positions)
        tick(len(batch.positions) + len(batch.failures))
    if found.positions:
        found.logits = [np.concatenate(parts) for parts in logits]
        found.on_target = [np.concatenate(parts) for parts in shares]
        found.all_on_target = np.concatenate(every)
    return found


def column_centres(grid: Grid) -> np.ndarray:
    """(columns,) seconds at the centre of each time column of patches."""
    first = np.arange(grid.columns) * grid.stride[1]
    return ((first + (PATCH - 1) / 2) * SHIFT + WINDOW / 2) / SAMPLE_RATE


def on_target(grid: Grid, clips: Sequence[Clip]) -> np.ndarray:
    """(clips, patches) 1.0 where a patch's centre lies on the clip's target, NaN without one."""
    centres = column_centres(grid)
    column = grid.locate(torch.arange(grid.count))[:, 0].numpy()
    table = np.full((len(clips), grid.count), np.nan)
    for row, clip in zip(table, clips, strict=True):
        if clip.target_end is not None:
            start = clip.target_start or 0.0
            row[:] = ((centres >= start) & (centres <= clip.target_end))[column]
    return table
