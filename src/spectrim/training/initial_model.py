"""The model that a run starts from: fresh, or a checkpoint fitted to the task."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import nn

from ..common.errors import SpectrimError, SpectrimNotice
from ..models.build import prune
from ..models.config import preset
from ..models.loading.load import load
from ..models.transformer import SpectrogramTransformer
from ..pruning.plan import Plan
from .recipe import PretrainRecipe, Recipe
from .task import Task, with_labels


def begin(recipe: Recipe, task: Task) -> tuple[SpectrogramTransformer, Task, list[str]]:
    """The model with the recipe's pruning plan, the task with classes in its order, a log.

    The same recipe and task give the same weights.

    Raises:
        SpectrimError: no such checkpoint or preset, or one that cannot be adapted.
    """
    torch.manual_seed(recipe.seed)
    model, task, said = _loaded(recipe, task) if recipe.init else _fresh(recipe, task)
    model.set_drop_path(recipe.model.drop_path)
    pruned = prune(
        model, recipe.keep_rate, recipe.score, recipe.blocks, reduction=recipe.reduction,
        seed=recipe.seed,
    )  # fmt: skip
    if recipe.optim.warmup_epochs >= recipe.epochs:
        said.append(
            f"the learning rate grows for optim.warmup_epochs={recipe.optim.warmup_epochs:g} of "
            f"{recipe.epochs} epochs, and never reaches its peak; in the first step it is 0."
        )
    end = recipe.schedule.start + recipe.schedule.length
    if recipe.keep_rate < 1 and end > recipe.epochs:
        said.append(
            f"the keep-rate reaches {recipe.keep_rate} after {end:g} epochs, and there are "
            f"{recipe.epochs}: schedule.start and schedule.length want to be shorter."
        )
    return pruned, task, said


def begin_pretraining(
    recipe: PretrainRecipe, task: Task
) -> tuple[SpectrogramTransformer, list[str]]:
    """The encoder, never pruned; see `begin`."""
    torch.manual_seed(recipe.seed)
    as_supervised = Recipe(seed=recipe.seed, init=recipe.init, model=recipe.model)
    if not recipe.init:
        model, _, said = _fresh(as_supervised, task)
        return model, said
    model, _, said = _loaded(as_supervised, task)
    return model.with_plan(Plan()), said


def _fresh(recipe: Recipe, task: Task) -> tuple[SpectrogramTransformer, Task, list[str]]:
    part = recipe.model
    config = preset(
        part.preset, task.labels, frames=task.frames, stride=part.stride or 16,
        activation=task.activation, metric=task.metric, mean=task.mean, std=task.std,
        padding=part.padding,
    )  # fmt: skip
    model = SpectrogramTransformer(config)
    _renew_head(model, part.head_std)
    return model, task, [f"{part.preset} with random weights."]


def _loaded(recipe: Recipe, task: Task) -> tuple[SpectrogramTransformer, Task, list[str]]:
    assert recipe.init is not None
    part, said = recipe.model, []
    values = {"mean": task.mean, "std": task.std, "padding": part.padding}
    values |= {"activation": task.activation, "metric": task.metric}
    given = recipe.load | ({} if part.stride is None else {"stride": part.stride})
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", SpectrimNotice)
        old = load(recipe.init, **given)
        model = load(recipe.init, frames=task.frames, **(given | values))
    said.append(f"starts from {recipe.init}: {_size(old)}.")
    said += [text for text in dict.fromkeys(str(n.message) for n in notices) if "head" not in text]
    if old.config.frames != task.frames:
        said.append(
            f"its length of {old.config.frames} frames becomes {task.frames}: position embedding "
            f"of {old.grid.columns} time columns to {model.grid.columns}."
        )
    if (old.config.mean, old.config.std) != (task.mean, task.std):
        said.append(f"features are normalised by mean {task.mean} and std {task.std} from now on.")
    if model.plan.stages:
        said.append(f"its own plan ({model.plan}) gives way to the recipe's.")
        model = model.with_plan(Plan())
    same = set(model.labels) == set(task.labels)
    if same and not part.fresh_head:
        if tuple(model.labels) != task.labels:
            task = with_labels(task, model.labels)
        said.append(f"its head of {len(model.labels)} classes stays.")
        return model, task, said
    if part.fresh_head is False:
        raise SpectrimError(
            f"model.fresh_head=false, and the {len(model.labels)} classes of {recipe.init} are "
            f"not the {len(task.labels)} of the data; leave it out."
        )
    headless = any("has no head" in str(notice.message) for notice in notices)
    old_head = "it has no head; " if headless else f"its head of {len(old.labels)} classes goes; "
    said.append(f"{old_head}a fresh one of {len(task.labels)} classes is made.")
    model.config = replace(model.config, labels=task.labels)
    model.head = nn.Linear(model.config.width, len(task.labels))
    _renew_head(model, part.head_std)
    return model, task, said


def _renew_head(model: SpectrogramTransformer, std: float) -> None:
    """A fresh LayerNorm and Linear."""
    nn.init.ones_(model.head_norm.weight)
    nn.init.zeros_(model.head_norm.bias)
    nn.init.trunc_normal_(model.head.weight, std=std)
    nn.init.zeros_(model.head.bias)


def _size(model: SpectrogramTransformer) -> str:
    c = model.config
    return (
        f"width {c.width}, {c.depth} blocks, {c.frames} frames, {len(c.labels)} classes, mean "
        f"{c.mean}, std {c.std}, padding {c.padding}"
    )
