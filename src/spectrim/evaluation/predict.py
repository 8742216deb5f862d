"""One pass over the clips for many variants of a model: features are computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from ..audio.constants import SAMPLE_RATE, SHIFT, WINDOW, num_samples
from ..common.errors import not_finite
from ..common.hooks import pass_point
from ..data.batches import Batch, batches
from ..data.clip import Clip
from ..models.transformer import SpectrogramTransformer
from ..pruning.patches import PATCH, PatchGrid


@dataclass
class Predictions:
    """What variants of a model say about clips; lists of arrays, one a batch.

    Attributes:
        positions: of the clips that could be read, in the list.
        logits: a variant, a batch: (clips, classes) float32.
        on_target: a variant, a batch: (clips,) share of the finally kept patches whose time
            column's centre lies on the target; NaN where a clip has none.
        all_on_target: a batch: (clips,) the share that all patches have there.
        failures: (place in the list, message) of clips that could not be read.
    """

    positions: list[int] = field(default_factory=list)
    logits: list[list[np.ndarray]] = field(default_factory=list)
    on_target: list[list[np.ndarray]] = field(default_factory=list)
    all_on_target: list[np.ndarray] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)


class Keeper(Protocol):
    """Where predictions are kept as they come; see `partial.Partial`."""

    def load(self) -> tuple[Predictions, int]:
        """What is there, and how many clips are behind."""

    def save(self, found: Predictions, done: int, force: bool = False) -> None:
        """Keep what is there now; may wait unless forced."""


@torch.inference_mode()
def predict(
    variants: Sequence[SpectrogramTransformer],
    clips: Sequence[Clip],
    batch_size: int,
    keeper: Keeper | None = None,
    tick: Callable[[int], None] = lambda clips: None,
) -> Predictions:
    """Run all variants (over the same weights) on all clips.

    Args:
        keeper: takes up an interrupted pass, and saves this one, at its end too.
        tick: called with the number of clips done, after each batch.

    Raises:
        SpectrimError: a logit that is not finite.
    """
    found, done = keeper.load() if keeper else (Predictions(), 0)
    tick(done)
    found.logits = found.logits or [[] for _ in variants]
    found.on_target = found.on_target or [[] for _ in variants]
    try:
        for batch in batches(clips[done:], batch_size, window_seconds(variants[0])):
            _add(found, variants, clips, batch, done_before=done)
            tick(len(batch.positions) + len(batch.failures))
            pass_point("sweep:clips", len(batch.positions) + len(batch.failures))
            if keeper:
                keeper.save(found, len(found.positions) + len(found.failures))
    finally:
        if keeper:
            keeper.save(found, len(found.positions) + len(found.failures), force=True)
    return found


def _add(
    found: Predictions,
    variants: Sequence[SpectrogramTransformer],
    clips: Sequence[Clip],
    batch: Batch,
    done_before: int,
) -> None:
    failures = [(done_before + at, text) for at, text in batch.failures]
    if not batch.positions:
        found.failures.extend(failures)
        return
    model = variants[0]
    positions = [done_before + at for at in batch.positions]
    features, valid = model.features_from_waveforms(batch.waveforms)
    target = on_target(model.config.grid, [clips[at] for at in positions])
    results = []
    for variant in variants:
        tokens = variant.encode(features, valid)
        logits = variant.head(variant.pool(tokens)).float()
        kept = np.take_along_axis(target, tokens.origin.cpu().numpy(), 1)
        values = logits.cpu().numpy()
        refuse_not_finite(values, [clips[at] for at in positions])
        results.append((values, kept.mean(1)))
    # All at once, so that an interruption in the middle leaves no half of a batch.
    for at, (values, shares) in enumerate(results):
        found.logits[at].append(values)
        found.on_target[at].append(shares)
    found.all_on_target.append(target.mean(1))
    found.failures.extend(failures)
    found.positions.extend(positions)


def refuse_not_finite(outputs: np.ndarray, clips: Sequence[Clip]) -> None:
    """Raise for the first clip whose row of (clips, classes) outputs holds what is no number."""
    fine = np.isfinite(outputs).all(1)
    if not fine.all():
        raise not_finite(str(clips[int(fine.argmin())].path))


def window_seconds(model: SpectrogramTransformer) -> float:
    """How much of a clip the model sees, and a little more for the resampler's edge."""
    return num_samples(model.config.frames) / SAMPLE_RATE + 0.1


def column_centres(grid: PatchGrid) -> np.ndarray:
    """(columns,) seconds at the centre of each time column of patches."""
    first = np.arange(grid.columns) * grid.stride[1]
    return ((first + (PATCH - 1) / 2) * SHIFT + WINDOW / 2) / SAMPLE_RATE


def on_target(grid: PatchGrid, clips: Sequence[Clip]) -> np.ndarray:
    """(clips, patches) 1.0 where a patch's centre lies on the clip's target, NaN without one."""
    centres = column_centres(grid)
    column = grid.locate(torch.arange(grid.count))[:, 0].numpy()
    table = np.full((len(clips), grid.count), np.nan)
    for row, clip in zip(table, clips, strict=True):
        if clip.target_end is not None:
            start = clip.target_start or 0.0
            row[:] = ((centres >= start) & (centres <= clip.target_end))[column]
    return table
