"""The model that a run starts from: random weights, or a checkpoint adapted to the task."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..common.errors import SpectrimError, SpectrimNotice
from ..models.build import prune
from ..models.config import NO_CLASSES, preset
from ..models.loading.load import load
from ..models.transformer import SpectrogramTransformer
from ..pruning.plan import Plan
from .recipe import ModelPart, PretrainRecipe, Recipe
from .task import SupervisedTask, Task


def initial_classifier(
    recipe: Recipe, task: SupervisedTask
) -> tuple[SpectrogramTransformer, SupervisedTask, list[str]]:
    """The model with the recipe's pruning plan, the task with classes in its order, and notes.

    The same recipe and task give the same weights.

    Raises:
        SpectrimError: no such checkpoint or preset, or one that cannot be adapted.
    """
    settings = {"activation": task.activation, "metric": task.metric}
    torch.manual_seed(recipe.seed)
    model, notes = _adapted(recipe.init, recipe.load, recipe.model, task, task.labels, settings)
    model.set_drop_path(recipe.model.drop_path)
    pruned = prune(
        model, recipe.keep_rate, recipe.score, recipe.blocks, reduction=recipe.reduction,
        seed=recipe.seed,
    )  # fmt: skip
    warmup = recipe.optim.warmup_epochs
    if warmup >= recipe.epochs:
        notes.append(
            f"the learning rate never reaches its peak: optim.warmup_epochs={warmup:g}, but the "
            f"run has {recipe.epochs} epochs. In the first step it is 0."
        )
    end = recipe.schedule.start + recipe.schedule.length
    if recipe.keep_rate < 1 and end > recipe.epochs:
        notes.append(
            f"the keep rate reaches {recipe.keep_rate} after {end:g} epochs, but the run has "
            f"{recipe.epochs}. Reduce schedule.start or schedule.length."
        )
    return pruned, task.with_labels(model.labels), notes


def initial_encoder(recipe: PretrainRecipe, task: Task) -> tuple[SpectrogramTransformer, list[str]]:
    """The unpruned encoder to pre-train, and notes; see `initial_classifier`."""
    settings = {"activation": "softmax", "metric": "accuracy"}  # nothing is classified
    torch.manual_seed(recipe.seed)
    return _adapted(recipe.init, {}, recipe.model, task, (NO_CLASSES,), settings)


def _adapted(
    init: str | None,
    options: dict[str, Any],
    part: ModelPart,
    task: Task,
    labels: tuple[str, ...],
    settings: dict[str, str],
) -> tuple[SpectrogramTransformer, list[str]]:
    """A model without a plan for the task's features and these classes, in either order.

    Args:
        options: load options of `init`.
        settings: activation and metric.
    """
    settings = settings | {"padding": part.padding}
    features: dict[str, Any] = {"frames": task.frames, "mean": task.mean, "std": task.std}
    if init is None:
        config = preset(part.preset, labels, stride=part.stride or 16, **features, **settings)
        model = SpectrogramTransformer(config)
        _renew_head(model, part.head_std)
        return model, [f"{part.preset} with random weights."]
    if part.stride is not None:
        options = options | {"stride": part.stride}
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", SpectrimNotice)
        stored = load(init, **options)
        model = load(init, **(options | features | settings))
    notes = [f"starts from {init}: {_summary(stored)}."]
    notes += [text for text in dict.fromkeys(str(n.message) for n in notices) if "head" not in text]
    notes += _changes(stored, model)
    if model.plan.stages:
        notes.append(f"the recipe's plan replaces that of {init} ({model.plan}).")
        model = model.with_plan(Plan())
    same_classes = set(model.labels) == set(labels)
    if same_classes and not part.fresh_head:
        return model, [*notes, f"its head of {len(labels)} classes stays."]
    if part.fresh_head is False:
        raise SpectrimError(
            f"model.fresh_head=false, but the {len(model.labels)} classes of {init} are not the "
            f"{len(labels)} of the data. Leave model.fresh_head out."
        )
    headless = any("has no head" in str(notice.message) for notice in notices)
    old_head = "it has no head" if headless else f"its head of {len(stored.labels)} classes goes"
    notes.append(f"{old_head}; a fresh one of {len(labels)} classes is made.")
    model.config = replace(model.config, labels=labels)
    model.head = nn.Linear(model.config.width, len(labels))
    _renew_head(model, part.head_std)
    return model, notes


def _changes(stored: SpectrogramTransformer, model: SpectrogramTransformer) -> list[str]:
    """Notes on the features that the task changes."""
    old, new, notes = stored.config, model.config, []
    if old.frames != new.frames:
        notes.append(
            f"its length of {old.frames} frames becomes {new.frames}: position embedding of "
            f"{old.grid.columns} time columns to {new.grid.columns}."
        )
    if (old.mean, old.std) != (new.mean, new.std):
        notes.append(f"features are now normalised by mean {new.mean} and std {new.std}.")
    return notes


def _renew_head(model: SpectrogramTransformer, std: float) -> None:
    """Initialise the LayerNorm and the Linear before the logits."""
    nn.init.ones_(model.head_norm.weight)
    nn.init.zeros_(model.head_norm.bias)
    nn.init.trunc_normal_(model.head.weight, std=std)
    nn.init.zeros_(model.head.bias)


def _summary(model: SpectrogramTransformer) -> str:
    config = model.config
    return (
        f"width {config.width}, {config.depth} blocks, {config.frames} frames, "
        f"{len(config.labels)} classes, mean {config.mean}, std {config.std}, padding "
        f"{config.padding}"
    )
