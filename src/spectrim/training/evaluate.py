"""A metric over clips that several processes share, each clip counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from ..common.errors import SpectrimError
from ..common.files import save
from ..data.batches import batches
from ..data.clip import Clip, clip_names
from ..metrics.classification import indicator, metric
from ..models.transformer import SpectrogramTransformer
from .task import Task


@dataclass(frozen=True)
class Evaluation:
    """Logits (clips, classes) of the clips at `positions`, and the metric, 0 to 1."""

    positions: np.ndarray
    logits: np.ndarray
    value: float


@torch.inference_mode()
def evaluate(
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
    """Run a model on clips, at its plan's keep-rate; every process gets the whole result.

    Clips that cannot be read are left out.

    Args:
        targets: class indices of each clip.
        name: "accuracy" or "mAP".
        cache, seconds: as `Waveforms`.
        tick: called after each batch with this process's clips done, and how many it has.

    Raises:
        SpectrimError: no clip could be read.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    own = np.arange(len(clips))[rank::world]
    # One clip more for who has fewer, so that all processes gather the same shape.
    share = -(-len(clips) // world)
    positions = torch.full((share,), -1, dtype=torch.long, device=model.device)
    logits = torch.zeros(share, len(model.labels), device=model.device)
    was_training, done, seen = model.training, 0, 0
    model.eval()
    for batch in batches([clips[at] for at in own], batch_size, seconds, workers, cache):
        count = len(batch.positions)
        if count:
            with accelerator.autocast():
                found = model(*model.features_from_waveforms(batch.waveforms)).float()
            logits[done : done + count] = found
            positions[done : done + count] = torch.from_numpy(own[batch.positions])
            done += count
        seen += count + len(batch.failures)
        tick(seen, len(own))
    model.train(was_training)
    whole, rows = accelerator.gather(positions).cpu(), accelerator.gather(logits).cpu()
    order = whole.argsort()
    order = order[whole[order] >= 0]
    if not len(order):
        raise SpectrimError(f"none of {len(clips)} clips could be read, the first {clips[0].path}.")
    at, values = whole[order].numpy(), rows[order].numpy()
    truth = indicator([targets[i] for i in at], len(model.labels))
    outputs = model.probabilities(torch.from_numpy(values)).numpy()
    return Evaluation(at, values, metric(name, outputs, truth))


def save_predictions(
    folder: Path, task: Task, labels: Sequence[str], found: Mapping[str, Evaluation]
) -> None:
    """`predictions.npz`: of each split (clips, classes) logits and truth, paths, `clip_names`."""
    arrays: dict[str, Any] = {}
    for name, result in found.items():
        clips, targets = task.part(name)
        arrays[f"{name}_paths"] = np.array([str(clips[at].path) for at in result.positions])
        arrays[f"{name}_names"] = np.array(clip_names(clips))[result.positions]
        arrays[f"{name}_logits"] = result.logits
        truth = [targets[at] for at in result.positions]
        arrays[f"{name}_truth"] = indicator(truth, len(labels))
    if arrays:
        save(folder / "predictions.npz", partial(np.savez, **arrays))
