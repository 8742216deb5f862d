"""One pass over the clips with several runners; what they share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from ..audio.constants import SAMPLE_RATE
from ..audio.front_ends import FrontEnd
from ..common.errors import SpectrimError, not_finite
from ..common.hooks import pass_point
from ..common.interruption import Stopped
from ..data.batches import Batch, batches
from ..data.clip import Clip
from ..deploy.runner import Prediction, Runner
from ..models.config import ModelConfig
from ..pruning.patches import PatchGrid


@dataclass
class Predictions:
    """Outputs of runners on clips, as lists of arrays with one array per batch.

    Attributes:
        positions: indices of the clips that could be read.
        outputs: per runner and batch, (clips, classes) float32; see `Runner.predict`.
        on_target: per runner and batch, (clips,) fraction of the patches left at the end whose
            time column is centred on the clip's target; NaN without a target or without patches.
        macs: per runner and batch, (clips,) multiply-accumulates.
        all_on_target: per batch, (clips,) the same fraction of all patches.
        failures: (index, message) of clips that could not be read.
    """

    positions: list[int] = field(default_factory=list)
    outputs: list[list[np.ndarray]] = field(default_factory=list)
    on_target: list[list[np.ndarray]] = field(default_factory=list)
    macs: list[list[np.ndarray]] = field(default_factory=list)
    all_on_target: list[np.ndarray] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def num_done(self) -> int:
        """Clips that were read or failed."""
        return len(self.positions) + len(self.failures)


class Keeper(Protocol):
    """Saves predictions while they are computed; see `resume.Partial`."""

    def load(self) -> tuple[Predictions, int]:
        """Saved predictions, and the number of clips they cover."""

    def save(self, predictions: Predictions, num_done: int, force: bool = False) -> None:
        """Save the predictions; without `force`, only when a save is due."""


def predict(
    runners: Sequence[Runner],
    clips: Sequence[Clip],
    batch_size: int,
    keeper: Keeper | None = None,
    tick: Callable[[int], None] = lambda clips: None,
) -> Predictions:
    """Run all runners on all clips; the first one computes the inputs of all.

    Args:
        keeper: resumes an interrupted pass, and saves this one, also when it ends.
        tick: called with the number of clips done, after each batch.

    Raises:
        SpectrimError: an output is not finite; the runners take different sample rates.
        Stopped: Ctrl-C; its result is the predictions so far.
    """
    predictions, num_resumed = keeper.load() if keeper else (Predictions(), 0)
    tick(num_resumed)
    predictions.outputs = predictions.outputs or [[] for _ in runners]
    predictions.on_target = predictions.on_target or [[] for _ in runners]
    predictions.macs = predictions.macs or [[] for _ in runners]
    seconds, rate = seconds_and_rate(runners)
    try:
        for start, batch in growing_batches(clips, batch_size, seconds, num_resumed, rate):
            _add(predictions, runners, clips, batch, start)
            num_clips = len(batch.positions) + len(batch.failures)
            tick(num_clips)
            if keeper:
                keeper.save(predictions, predictions.num_done)
            pass_point("sweep:clips", num_clips)
    except KeyboardInterrupt:
        raise Stopped(predictions) from None
    finally:
        if keeper:
            keeper.save(predictions, predictions.num_done, force=True)
    return predictions


def growing_batches(
    clips: Sequence[Clip],
    batch_size: int,
    seconds: float,
    start: int = 0,
    rate: int = SAMPLE_RATE,
) -> Iterator[tuple[int, Batch]]:
    """Batches of 1, 2, 4, ... clips up to `batch_size`, so that slow models answer early.

    A size depends on the number of clips before it alone, so a resumed pass has the same batches.

    Args:
        seconds: to decode of each clip.
        start: index of the first clip.
        rate: sample rate in Hz.

    Yields:
        A batch, and the index of the clip that its positions count from.
    """
    while (size := start + 1) < batch_size and start < len(clips):
        for batch in batches(clips[start : start + size], size, seconds, rate=rate):
            yield start, batch
        start += size
    for batch in batches(clips[start:], batch_size, seconds, rate=rate):
        yield start, batch


def _add(
    predictions: Predictions,
    runners: Sequence[Runner],
    clips: Sequence[Clip],
    batch: Batch,
    start: int,
) -> None:
    failures = [(start + index, text) for index, text in batch.failures]
    if not batch.positions:
        predictions.failures.extend(failures)
        return
    positions = [start + index for index in batch.positions]
    batch_clips = [clips[index] for index in positions]
    inputs = runners[0].shared_inputs(batch.waveforms)
    grid = runners[0].grid
    target = (
        np.full((len(positions), 1), np.nan)
        if grid is None
        else on_target(grid, runners[0].audio, batch_clips)
    )
    results = []
    for runner in runners:
        outputs, kept, macs = Prediction(*runner.predict(inputs))
        refuse_not_finite(outputs, batch_clips)
        weights = np.ones_like(target) if kept is None else kept
        macs = np.full(len(positions), runner.macs) if macs is None else macs
        results.append((outputs, (target * weights).sum(1) / weights.sum(1), macs))
    # Add everything at once, so that an interruption cannot leave half a batch.
    for index, (outputs, fractions, macs) in enumerate(results):
        predictions.outputs[index].append(outputs)
        predictions.on_target[index].append(fractions)
        predictions.macs[index].append(macs)
    predictions.all_on_target.append(target.mean(1))
    predictions.failures.extend(failures)
    predictions.positions.extend(positions)


def refuse_not_finite(outputs: np.ndarray, clips: Sequence[Clip]) -> None:
    """Raise for the first clip whose row of (clips, classes) outputs is not finite."""
    is_finite = np.isfinite(outputs).all(1)
    if not is_finite.all():
        raise not_finite(str(clips[int(is_finite.argmin())].path))


def seconds_and_rate(readers: Iterable[Runner | ModelConfig]) -> tuple[float, int]:
    """Seconds to decode of each clip for several runners or models, and their sample rate in Hz.

    Raises:
        SpectrimError: they take different sample rates.
    """
    pairs = [(reader.seconds_to_read, reader.sample_rate) for reader in readers]
    rates = sorted({rate for _, rate in pairs})
    if len(rates) > 1:
        raise SpectrimError(
            f"the models take sound of {' and '.join(map(str, rates))} Hz, so they cannot share "
            "one pass over the clips. Run the command once for each sample rate."
        )
    return max(seconds for seconds, _ in pairs), rates[0]


def column_centres(grid: PatchGrid, audio: FrontEnd) -> np.ndarray:
    """(columns,) seconds at the centre of each time column of patches."""
    first = np.arange(grid.columns) * grid.stride[1]
    return np.array([audio.seconds_at(frame + (grid.patch[1] - 1) / 2) for frame in first.tolist()])


def on_target(grid: PatchGrid, audio: FrontEnd, clips: Sequence[Clip]) -> np.ndarray:
    """(clips, patches) 1.0 where a patch's centre lies on the clip's target, NaN without one."""
    centres = column_centres(grid, audio)
    column = grid.locate(torch.arange(grid.count))[:, 0].numpy()
    table = np.full((len(clips), grid.count), np.nan)
    for row, clip in zip(table, clips, strict=True):
        if clip.target_end is not None:
            start = clip.target_start or 0.0
            row[:] = ((centres >= start) & (centres <= clip.target_end))[column]
    return table
