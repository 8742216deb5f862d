"""The two kinds of training: what a batch becomes, and how a model is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..audio.constants import MELS, num_samples
from ..common.errors import SpectrimError
from ..data.augment import Draw, FeatureAugment, WaveformAugment, apply
from ..data.cache import Waveforms
from ..data.loader import TrainBatch, TrainLoader
from ..metrics.classification import indicator
from ..models.loading.load import load
from ..models.transformer import SpectrogramTransformer
from ..pruning.plan import Plan
from .evaluate import Evaluation, evaluate
from .initial_model import begin, begin_pretraining
from .masking import random_mask, token_mask
from .objectives import MaskedAutoEncoder, Supervised
from .recipe import AugmentPart, PretrainRecipe, Recipe
from .schedules import keep_rate_at, masks_ended
from .task import Task


class Drawn(NamedTuple):
    """What was drawn for a clip besides its waveform: changes of the features, patches kept."""

    draw: Draw
    keep: np.ndarray | None


class Job(Protocol):
    """What the loop wants to know of a kind of training."""

    task: Task
    model: SpectrogramTransformer
    objective: nn.Module
    loader: TrainLoader[Drawn]
    said: list[str]

    @property
    def recipe(self) -> Recipe | PretrainRecipe:
        """What it was made from."""

    def inputs(self, batch: TrainBatch[Drawn], now: float) -> dict[str, Any]:
        """Arguments of the objective, on the model's device; `now` is the epoch so far."""

    def keep_rate(self, now: float) -> float:
        """The keep-rate of a step."""

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """The model on each split that there is: "valid", "test"; `tick` as `evaluate`'s."""


class Supervision:
    """Fine-tuning, or training from scratch, with a keep-rate schedule."""

    def __init__(self, recipe: Recipe, task: Task, cache: Path, rank: int, world: int) -> None:
        self.recipe: Recipe = recipe
        self.cache = cache
        self.model, self.task, self.said = begin(recipe, task)
        teacher, part = recipe.teacher, recipe.augment
        self.teacher = self._teacher() if teacher.model else None
        share = teacher.weight if self.teacher else 0.0
        self.objective: nn.Module = Supervised(
            self.model, task.loss, recipe.loss.smoothing, share, teacher.temperature
        )
        augment = _features(part)
        grid, frames = self.model.grid, self.task.frames

        def extra(now: float, rng: np.random.Generator) -> Drawn:
            masked = not masks_ended(now, recipe.keep_rate, recipe.schedule)
            draw = augment.draw(frames, MELS, masked, rng)
            stays = token_mask(grid, part.token_columns, part.token_rows, rng) if masked else None
            return Drawn(draw, stays)

        self.loader = _loader(recipe, self.task, cache, extra, rank, world)
        self.targets = indicator(self.task.targets, len(self.task.labels)).astype(np.float32)

    def _teacher(self) -> SpectrogramTransformer:
        """A teacher's classes may stand in another order; its length becomes ours."""
        name = self.recipe.teacher.model
        assert name is not None
        teacher = load(name, frames=self.task.frames, **self.recipe.teacher.load)
        if teacher.plan.stages:
            self.said.append(f"the teacher's own plan ({teacher.plan}) is left out: it sees all.")
            teacher = teacher.with_plan(Plan())
        strangers = set(teacher.labels) ^ set(self.task.labels)
        if strangers:
            raise SpectrimError(
                f"teacher.model {name}: its classes are not the task's; {sorted(strangers)[0]!r} "
                "is known to one of the two only."
            )
        place = torch.tensor([teacher.labels.index(label) for label in self.task.labels])
        with torch.no_grad():
            teacher.head.weight.copy_(teacher.head.weight[place])
            teacher.head.bias.copy_(teacher.head.bias[place])
        return teacher.requires_grad_(False)

    def keep_rate(self, now: float) -> float:
        """See `Job`."""
        return keep_rate_at(now, self.recipe.keep_rate, self.recipe.schedule)

    def inputs(self, batch: TrainBatch[Drawn], now: float) -> dict[str, Any]:
        """See `Job`."""
        targets = np.stack(
            [
                sum((share * self.targets[at] for at, share in item.parts), np.float32(0))
                for item in batch.items
            ]
        )
        found = _common(self.model, batch) | {"keep_rate": self.keep_rate(now)}
        found["targets"] = torch.from_numpy(targets).to(self.model.device)
        if self.teacher:
            teacher = self.teacher.to(self.model.device)
            with torch.no_grad():
                features, valid = teacher.features_from_waveforms(
                    [item.waveform for item in batch.items]
                )
                found["teacher"] = teacher(features, valid)
        return found

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """See `Job`."""
        task, results = self.task, {}
        for name in ("valid", "test"):
            clips, targets = task.part(name)
            if clips:
                results[name] = evaluate(
                    accelerator, self.model, clips, targets, name=task.metric,
                    batch_size=_evaluated(self.recipe), cache=self.cache, seconds=task.seconds,
                    workers=self.recipe.data.workers, tick=tick,
                )  # fmt: skip
        return results


class Pretraining:
    """Masked auto-encoding of clips without labels."""

    def __init__(
        self, recipe: PretrainRecipe, task: Task, cache: Path, rank: int, world: int
    ) -> None:
        self.recipe, self.task = recipe, task
        self.model, self.said = begin_pretraining(recipe, task)
        size = recipe.decoder_width, recipe.decoder_depth, recipe.decoder_heads
        self.objective: nn.Module = MaskedAutoEncoder(self.model, *size)
        augment, patches, frames = _features(recipe.augment), self.model.grid.count, task.frames

        def extra(now: float, rng: np.random.Generator) -> Drawn:
            draw = augment.draw(frames, MELS, True, rng)
            return Drawn(draw, random_mask(patches, recipe.mask, rng))

        self.loader = _loader(recipe, task, cache, extra, rank, world)

    def keep_rate(self, now: float) -> float:
        """See `Job`; nothing is pruned."""
        return 1.0

    def inputs(self, batch: TrainBatch[Drawn], now: float) -> dict[str, Any]:
        """See `Job`."""
        return _common(self.model, batch)

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """See `Job`; there is nothing to judge by but the loss."""
        return {}


def _common(model: SpectrogramTransformer, batch: TrainBatch[Drawn]) -> dict[str, Any]:
    """Features, valid frames, weights and the patches kept; the filter bank on the device."""
    config, device = model.config, model.device
    extras = [item.extra for item in batch.items]
    with torch.no_grad():
        features, valid = model.features_from_waveforms([item.waveform for item in batch.items])
        fill = -config.mean / (2 * config.std)
        features, valid = apply(features, valid, [extra.draw for extra in extras], fill)
    found: dict[str, Tensor | None] = {"features": features, "valid": valid}
    found["weights"] = torch.from_numpy(batch.weights).to(device)
    keeps = [extra.keep for extra in extras if extra.keep is not None]
    found["keep"] = torch.from_numpy(np.stack(keeps)).to(device) if keeps else None
    return found


def _features(part: AugmentPart) -> FeatureAugment:
    return FeatureAugment(part.spec_time, part.spec_frequency, part.noise, part.shift)


def _loader(
    recipe: Recipe | PretrainRecipe, task: Task, cache: Path, extra: Any, rank: int, world: int
) -> TrainLoader[Drawn]:
    part = recipe.augment
    waveforms = Waveforms(task.train, cache, task.seconds)
    join = num_samples(task.frames) if part.join else 0
    augment = WaveformAugment(part.roll, part.gain, part.mixup, part.mixup_alpha, join)
    return TrainLoader(
        waveforms.__getitem__, len(waveforms), augment, extra, batch_size=recipe.optim.batch_size,
        seed=recipe.seed, rank=rank, world=world, workers=recipe.data.workers,
    )  # fmt: skip


def _evaluated(recipe: Recipe) -> int:
    """Clips at a time in evaluation; fixed, so that the metric does not depend on processes."""
    return min(32, recipe.run.micro_batch or 32)
