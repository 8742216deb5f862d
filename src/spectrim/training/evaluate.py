"""A metric over clips that several processes share, each clip counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from ..common.errors import SpectrimError
from ..common.files import save_arrays
from ..data.batches import batches
from ..data.clip import Clip, clip_names
from ..metrics.classification import indicator, metric
from ..models.transformer import SpectrogramTransformer
from .task import SupervisedTask


@dataclass(frozen=True)
class Evaluation:
    """Logits (clips, classes) of the clips at `positions`, and the metric, 0 to 1.

    `left_out` clips could not be read.
    """

    positions: np.ndarray
    logits: np.ndarray
    value: float
    left_out: int = 0


@torch.inference_mode()
def evaluate_model(
    accelerator: Accelerator,
    model: SpectrogramTransformer,
    clips: Sequence[Clip],
    targets: Sequence[Sequence[int]],
    *,
    name: str,
    batch_size: int,
    cache: Path | None,
    seconds: float,
    workers: int = 2,
    tick: Callable[[int, int], None] = lambda done, clips: None,
) -> Evaluation:
    """Run a model on clips with its plan; every process returns the whole result.

    Unreadable clips are left out.

    Args:
        targets: class indices of each clip.
        name: "accuracy" or "mAP".
        cache, seconds: as in `Waveforms`.
        tick: called after each batch with the clips done by this process, and their total.

    Raises:
        SpectrimError: no clip could be read.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = np.arange(len(clips))[rank::world]  # clips of this process
    # Every process gathers a tensor of the same shape: rows without a clip have position -1.
    rows = -(-len(clips) // world)
    positions = torch.full((rows,), -1, dtype=torch.long, device=model.device)
    logits = torch.zeros(rows, len(model.labels), device=model.device)
    was_training, done, seen = model.training, 0, 0
    model.eval()
    local_clips, rate = [clips[index] for index in mine], model.config.sample_rate
    for batch in batches(local_clips, batch_size, seconds, workers, cache, rate):
        count = len(batch.positions)
        if count:
            with accelerator.autocast():
                output = model(*model.features_from_waveforms(batch.waveforms)).float()
            logits[done : done + count] = output
            positions[done : done + count] = torch.from_numpy(mine[batch.positions])
            done += count
        seen += count + len(batch.failures)
        tick(seen, len(mine))
    model.train(was_training)
    all_positions = accelerator.gather(positions).cpu()
    all_logits = accelerator.gather(logits).cpu()
    order = all_positions.argsort()
    order = order[all_positions[order] >= 0]
    if not len(order):
        raise SpectrimError(
            f"none of {len(clips)} clips could be read. The first is {clips[0].path}."
        )
    ordered = all_positions[order].numpy()
    values = all_logits[order]
    truth = indicator([targets[position] for position in ordered], len(model.labels))
    outputs = model.probabilities(values).numpy()
    value = metric(name, outputs, truth)
    return Evaluation(ordered, values.numpy(), value, len(clips) - len(ordered))


def save_predictions(
    folder: Path, task: SupervisedTask, evaluations: Mapping[str, Evaluation]
) -> None:
    """Write `predictions.npz`: paths, names, logits and truth (clips, classes) of each split."""
    arrays: dict[str, Any] = {}
    for name, evaluation in evaluations.items():
        clips, targets = task.split(name)
        positions = evaluation.positions
        arrays[f"{name}_paths"] = np.array([str(clips[index].path) for index in positions])
        arrays[f"{name}_names"] = np.array(clip_names(clips))[positions]
        arrays[f"{name}_logits"] = evaluation.logits
        truth = [targets[index] for index in positions]
        arrays[f"{name}_truth"] = indicator(truth, len(task.labels))
    if arrays:
        save_arrays(folder / "predictions.npz", **arrays)
