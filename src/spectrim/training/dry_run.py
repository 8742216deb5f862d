"""What a run would do, without training: sizes, rates, steps, MACs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audio.decode import duration_of
from ..models.build import macs
from .jobs import Job, Pretraining, Supervision
from .optim import parameter_groups
from .read_recipe import to_dict, to_yaml
from .recipe import PretrainRecipe, Recipe
from .schedules import lr_at, masks_ended, peak_lr
from .task import settle, unlabelled


@dataclass(frozen=True)
class DryRun:
    """What would be done; `to_dict` for programs.

    Attributes:
        recipe: as YAML, every value written out.
        said: what follows from the data and the start.
        groups: layer, lr (at its peak), weight decay, tensors, parameters.
        epochs: epoch, lr and keep_rate at its first and last step, gmacs at its last, whether
            token masking and SpecAugment are on.
        steps: an epoch's; total_steps.
    """

    recipe: str
    values: dict[str, Any]
    said: list[str]
    groups: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    steps: int
    total_steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "recipe": self.values,
            "said": self.said,
            "groups": self.groups,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps,
            "steps": self.total_steps,
        }


def dry_run(recipe: Recipe | PretrainRecipe, processes: int = 1) -> DryRun:
    """Check the data and the start, and work out the schedules.

    Raises:
        SpectrimError: as `train` would.
    """
    nowhere = Path("unused")  # no waveform is decoded, so none is cached
    if isinstance(recipe, Recipe):
        task = settle(recipe)
        job: Job = Supervision(recipe, task, nowhere, 0, processes)
    else:
        task = unlabelled(recipe)
        job = Pretraining(recipe, task, nowhere, 0, processes)
    steps, peak = job.loader.steps, peak_lr(recipe.optim)
    groups = [
        {
            "layer": group["layer"],
            "lr": peak * group["scale"],
            "weight_decay": group["weight_decay"],
            "tensors": len(group["params"]),
            "parameters": sum(p.numel() for p in group["params"]),
        }
        for group in parameter_groups(job.objective, job.model.config.depth, recipe.optim)
    ]
    epochs = []
    for epoch in range(recipe.epochs):
        first, last = epoch * steps, (epoch + 1) * steps - 1
        rate = job.keep_rate(last / steps)
        plan = job.model.plan.with_keep_rate(rate)
        row = {
            "epoch": epoch,
            "lr": [lr_at(step, steps, recipe.epochs, recipe.optim) for step in (first, last)],
            "keep_rate": [job.keep_rate(first / steps), rate],
            "gmacs": macs(job.model.with_plan(plan)) / 1e9,
        }
        if isinstance(recipe, Recipe):
            row["masking"] = not masks_ended(epoch, recipe.keep_rate, recipe.schedule)
        epochs.append(row)
    said = [*task.said, *job.said]
    clips = (*task.train, *task.valid, *task.test)
    if broken := [str(clip.path) for clip in clips if duration_of(clip.path) is None]:
        said.append(f"{len(broken)} files are no sound that can be read: {', '.join(broken[:5])}.")
    return DryRun(
        to_yaml(recipe), to_dict(recipe), said, groups, epochs, steps, steps * recipe.epochs
    )
