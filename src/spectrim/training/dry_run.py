"""The plan of a run without training: sizes, rates, steps, MACs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audio.decode import duration_of
from .make_job import make_job
from .optim import parameter_groups
from .read_recipe import to_dict, to_yaml
from .recipe import PretrainRecipe, Recipe
from .schedules import lr_at, masks_ended, peak_lr
from .task import SupervisedTask


@dataclass(frozen=True)
class DryRun:
    """The plan of a run; `to_dict` for programs.

    Attributes:
        recipe: as YAML, with every default; values: the same as plain data.
        notes: what follows from the data and the initial model.
        groups: layer, lr (peak), weight decay, tensors and parameters of each parameter group.
        epochs: epoch, lr and keep_rate at its first and last step, gmacs at its last step, and
            whether token masking and SpecAugment are on.
        steps: per epoch; total_steps: of the run.
    """

    recipe: str
    values: dict[str, Any]
    notes: list[str]
    groups: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    steps: int
    total_steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "recipe": self.values,
            "said": self.notes,
            "groups": self.groups,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps,
            "steps": self.total_steps,
        }


def dry_run(recipe: Recipe | PretrainRecipe, processes: int = 1) -> DryRun:
    """Check the data and the initial model, and compute the schedules.

    Raises:
        SpectrimError: as in `train`.
    """
    job = make_job(recipe, Path("unused"), world=processes)  # nothing is decoded, so nothing cached
    steps, peak = job.loader.steps, peak_lr(job.optim)
    groups = [
        {
            "layer": group["layer"],
            "lr": peak * group["scale"],
            "weight_decay": group["weight_decay"],
            "tensors": len(group["params"]),
            "parameters": sum(p.numel() for p in group["params"]),
        }
        for group in parameter_groups(job.objective, job.model.config.depth, job.optim)
    ]
    epochs = []
    for epoch in range(job.epochs):
        first, last = epoch * steps, (epoch + 1) * steps - 1
        row = {
            "epoch": epoch,
            "lr": [lr_at(step, steps, job.epochs, job.optim) for step in (first, last)],
            "keep_rate": [job.keep_rate(step / steps) for step in (first, last)],
            "gmacs": job.gmacs(last / steps),
        }
        if isinstance(recipe, Recipe):
            row["masking"] = not masks_ended(epoch, recipe.lowest_keep_rate, recipe.schedule)
        epochs.append(row)
    notes, task = list(job.notes), job.task
    tested = (*task.valid, *task.test) if isinstance(task, SupervisedTask) else ()
    clips = (*task.train, *tested)
    if broken := [str(clip.path) for clip in clips if duration_of(clip.path) is None]:
        notes.append(f"{len(broken)} files cannot be read as audio: {', '.join(broken[:5])}.")
    return DryRun(
        to_yaml(recipe), to_dict(recipe), notes, groups, epochs, steps, steps * job.epochs
    )
