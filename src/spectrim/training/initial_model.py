"""The model that a run starts from: random weights, or a checkpoint adapted to the task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..common.errors import SpectrimError
from ..models.build import prune
from ..models.config import NO_CLASSES, ModelConfig, with_overrides
from ..models.loading.load import load_with_assumptions
from ..models.loading.options import LoadOptions
from ..models.presets import preset
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
    final = recipe.lowest_keep_rate
    if final < 1 and end > recipe.epochs:
        notes.append(
            f"the keep rate reaches {final} after {end:g} epochs, but the run has "
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
    features: dict[str, Any] = {
        "frames": task.features.frames,
        "mean": task.features.mean,
        "std": task.features.std,
    }
    if init is None:
        stride = {} if part.stride is None else {"stride": part.stride}
        config = preset(part.preset, labels, **stride, **features, **settings)
        model = SpectrogramTransformer(config)
        _renew_head(model, part.head_std)
        return model, [f"{part.preset} with random weights."]
    options = dict(options)
    trust_code = options.pop("trust_code", False)
    if part.stride is not None:
        options["stride"] = part.stride
    changed = LoadOptions(**(options | features | settings))
    loaded = load_with_assumptions(init, changed, trust_code=trust_code)
    model = loaded.model
    # The config before the task changes it, as the load options alone describe the checkpoint.
    stored = with_overrides(loaded.stored, LoadOptions(**options).overrides())
    assumed = {key: text for key, text in loaded.assumed.items() if key != "head"}
    notes = [f"starts from {init}: {_summary(stored)}.", *replace(loaded, assumed=assumed).notes()]
    notes += _changes(stored, model.config)
    # What the model was trained for before no longer holds.
    model.config = replace(model.config, trained_range=None)
    model.set_recommendation(None)
    if model.plan.stages:
        notes.append(f"the recipe's plan replaces that of {init} ({model.plan}).")
        model = model.with_plan(Plan())
    # Sorted, because two classes of a checkpoint may have one name.
    same_classes = sorted(model.labels) == sorted(labels)
    if same_classes and not part.fresh_head:
        return model, [*notes, f"its head of {len(labels)} classes is kept."]
    if part.fresh_head is False:
        raise SpectrimError(
            f"model.fresh_head=false, but the {len(model.labels)} classes of {init} are not the "
            f"{len(labels)} of the data. Leave model.fresh_head out."
        )
    classes = f"its head of {len(stored.labels)} classes is replaced"
    old_head = "it has no head" if loaded.has_fresh_head else classes
    notes.append(f"{old_head}; a fresh one of {len(labels)} classes is created.")
    model.config = replace(model.config, labels=labels)
    model.head = nn.Linear(model.config.width, len(labels))
    _renew_head(model, part.head_std)
    return model, notes


def _changes(old: ModelConfig, new: ModelConfig) -> list[str]:
    """Notes on the features that the task changes."""
    notes = []
    if old.frames != new.frames:
        notes.append(
            f"its length of {old.frames} frames becomes {new.frames}: position embedding of "
            f"{old.grid.columns} time columns to {new.grid.columns}."
        )
    if (old.mean, old.std) != (new.mean, new.std):
        notes.append(f"features are now normalised by mean {new.mean} and std {new.std}.")
    return notes


def _renew_head(model: SpectrogramTransformer, std: float) -> None:
    """Initialise the norm and the Linear before the logits."""
    model.head_norm.reset_parameters()
    nn.init.trunc_normal_(model.head.weight, std=std)
    nn.init.zeros_(model.head.bias)


def _summary(config: ModelConfig) -> str:
    return (
        f"width {config.width}, {config.depth} blocks, {config.frames} frames, "
        f"{len(config.labels)} classes, mean {config.mean}, std {config.std}, padding "
        f"{config.padding}"
    )
