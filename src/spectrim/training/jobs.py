"""The two kinds of training: how a batch becomes a loss, and how a model is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..audio.constants import SHORTEST
from ..common.errors import SpectrimError
from ..common.text import shortened
from ..common.values import duplicates
from ..data.augment import Augmentation
from ..data.cache import Waveforms
from ..data.clip_bank import fits
from ..data.loader import TrainBatch, TrainLoader
from ..data.one_pass import decode_clips
from ..metrics.classification import indicator
from ..models.build import shape_of
from ..models.loading.load import load
from ..models.transformer import SpectrogramTransformer
from ..pruning.cost import macs
from ..pruning.plan import Plan
from .draws import random_mask, token_mask
from .evaluate import Evaluation, evaluate_model, save_predictions
from .initial_model import initial_classifier, initial_encoder
from .objectives import MaskedAutoEncoder, Supervised
from .recipe import PretrainRecipe, Recipe, TeacherPart
from .schedules import keep_rate_at, masks_ended
from .task import SupervisedTask, Task


class Job:
    """What the loop trains: task, model, objective and batches.

    The base class neither prunes nor evaluates.

    Attributes:
        notes: sentences about task and model for the user.
        metric: name of the metric that evaluates the model; None if it is not evaluated.
        first_eligible: first epoch that can be the best, counted from 0.
    """

    task: Task
    model: SpectrogramTransformer
    objective: nn.Module
    loader: TrainLoader
    notes: list[str]
    metric: str | None = None
    first_eligible = 0

    def __init__(self, recipe: Recipe | PretrainRecipe) -> None:
        self.seed, self.epochs = recipe.seed, recipe.epochs
        self.optim, self.run, self.data = recipe.optim, recipe.run, recipe.data
        part = self.augment = recipe.augment
        self.augmentation = Augmentation(
            part.roll, part.gain, part.mixup, part.mixup_alpha, part.spec_time,
            part.spec_frequency, part.noise, part.shift,
        )  # fmt: skip

    def batches(self, cache: Path, rank: int, world: int) -> TrainLoader:
        """The loader of the training clips."""
        features, rate = self.task.features, self.task.features.audio.sample_rate
        waveforms = Waveforms(self.task.train, cache, features.seconds, rate)
        return TrainLoader(
            waveforms.__getitem__, len(waveforms), self.augmentation, features.frames,
            self.optim.batch_size, self.seed,
            join=features.samples if self.augment.join else 0, shortest=round(SHORTEST * rate),
            mels=self.model.config.mels, subtract_mean=features.audio.subtracts_mean,
            rank=rank, world=world, workers=self.data.workers,
        )  # fmt: skip

    def to(self, device: torch.device) -> None:
        """Move the objective, and the batches that the loader makes, to a device."""
        self.objective.to(device)
        self.loader.device = device

    def hold_clips(self) -> None:
        """Decode all training clips to the device if `data.on_device` says so, or if they fit."""
        on_device, loader = self.data.on_device, self.loader
        seconds, rate = self.task.features.seconds, self.task.features.audio.sample_rate
        if on_device is None:
            on_device = fits(loader.count, seconds, loader.device, loader.world, rate)
        if on_device and self.data.cache is None:  # a cache in the run's folder is of no use
            with ThreadPoolExecutor(loader.workers) as pool:
                loader.hold(decode_clips(self.task.train, pool, seconds, rate))
        elif on_device:
            loader.hold()

    def keep_rate(self, now: float) -> float:
        """The keep rate of a step; `now` is the epoch with its fraction."""
        return 1.0

    def gmacs(self, now: float) -> float:
        """Multiply-accumulates for one clip at this point of training, in 1e9."""
        plan = self.model.plan.with_keep_rate(self.keep_rate(now))
        return macs(shape_of(self.model.config), plan) / 1e9

    def inputs(self, batch: TrainBatch, now: float) -> dict[str, Any]:
        """Arguments of the objective, computed on the device without waiting for it."""
        return self.changed(batch, now, *self.sounds(batch)[:2])

    @torch.no_grad()
    def sounds(self, batch: TrainBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Waveforms, lengths and shares of a batch; see `Augmentation.waveforms`."""
        samples = self.model.config.window_samples
        return self.augmentation.waveforms(
            batch.bank, batch.draws, batch.positions, batch.followers, samples
        )

    @torch.no_grad()
    def changed(
        self, batch: TrainBatch, now: float, waveforms: Tensor, lengths: Tensor
    ) -> dict[str, Any]:
        """Features with their random changes, valid frames, weights, and the patches kept."""
        features, valid = self.model.features_from_batch(waveforms, lengths)
        # Masked bins are 0 before normalising.
        fill = self.model.normalise(features.new_zeros(features.shape[-1]))
        masked = self.masks(now)
        features, valid = self.augmentation.features(
            features, valid, batch.draws, batch.positions, masked, fill
        )
        keys = batch.draws.key[batch.positions]
        keep = self.keep(keys) if masked else None
        return {"features": features, "valid": valid, "weights": batch.weights, "keep": keep}

    def masks(self, now: float) -> bool:
        """Whether SpecAugment and the masks of patches are on."""
        return True

    def keep(self, keys: Tensor) -> Tensor | None:
        """(batch, patches) bool of the patches kept, from the (batch,) keys; None: all."""
        return None

    def evaluates(self, epoch: int) -> bool:
        """Whether the model is evaluated after this epoch."""
        return False

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """Results on each split that has clips: "valid", "test"; `tick` as in `evaluate`."""
        return {}

    def selected_by(self, row: Mapping[str, Any]) -> str | None:
        """The split that chooses the best epoch; None if the row has no result of it."""
        return None

    def value(self, row: Mapping[str, Any], split: str) -> float:
        """The value of a split that the best epoch maximises; `row` has a result of it."""
        return float(row[split])

    def save_predictions(self, folder: Path, evaluations: Mapping[str, Evaluation]) -> None:
        """Write the logits of an evaluation."""


class Supervision(Job):
    """Fine-tuning, or training from random weights, with a schedule of the keep rate."""

    task: SupervisedTask

    def __init__(
        self, recipe: Recipe, task: SupervisedTask, cache: Path, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(recipe)
        self.cache, self.select, self.schedule = cache, recipe.select, recipe.schedule
        self.final_keep_rate = recipe.lowest_keep_rate
        self.first_eligible = recipe.select.from_epoch
        self.model, self.task, notes = initial_classifier(recipe, task)
        self.notes, self.metric = [*task.notes, *notes], task.metric
        self.teacher = self._teacher(recipe.teacher)
        self.objective = self._objective(recipe)
        self.loader = self.batches(cache, rank, world)
        targets = indicator(self.task.targets, len(self.task.labels)).astype(np.float32)
        self.targets = torch.from_numpy(targets[: len(self.task.train)])

    def _objective(self, recipe: Recipe) -> Supervised:
        return Supervised(
            self.model, self.task.loss, recipe.loss.smoothing,
            recipe.teacher.weight if self.teacher else 0.0, recipe.teacher.temperature,
        )  # fmt: skip

    def _teacher(self, part: TeacherPart) -> SpectrogramTransformer | None:
        """The teacher at the task's length, its classes in the task's order."""
        if part.model is None:
            return None
        teacher = load(part.model, frames=self.task.features.frames, **part.load)
        ours, theirs = self.task.features.audio, teacher.config.audio
        if (ours.sample_rate, ours.hop) != (theirs.sample_rate, theirs.hop):
            raise SpectrimError(
                f"teacher.model {part.model}: it takes {theirs.sample_rate} Hz and a frame every "
                f"{theirs.hop} samples; the model takes {ours.sample_rate} Hz and {ours.hop}. "
                "Choose a teacher with the same sample rate and frames."
            )
        if teacher.plan.stages:
            self.notes.append(
                f"the plan of the teacher ({teacher.plan}) is not used: it processes all patches."
            )
            teacher = teacher.with_plan(Plan())
        if repeated := duplicates(teacher.labels):
            raise SpectrimError(
                f"teacher.model {part.model}: several of its classes have the name "
                f"{shortened(repeated)}. Pass other names in teacher.load.labels."
            )
        differing = set(teacher.labels) ^ set(self.task.labels)
        if differing:
            raise SpectrimError(
                f"teacher.model {part.model}: its classes are not the task's; only one of the two "
                f"has {sorted(differing)[0]!r}."
            )
        order = torch.tensor([teacher.labels.index(label) for label in self.task.labels])
        with torch.no_grad():
            teacher.head.weight.copy_(teacher.head.weight[order])
            teacher.head.bias.copy_(teacher.head.bias[order])
        return teacher.requires_grad_(False)

    def keep_rate(self, now: float) -> float:
        """See `Job`."""
        return keep_rate_at(now, self.final_keep_rate, self.schedule)

    def to(self, device: torch.device) -> None:
        """See `Job`."""
        super().to(device)
        self.targets = self.targets.to(device)
        if self.teacher:
            self.teacher.to(device)

    def masks(self, now: float) -> bool:
        """See `Job`."""
        return not masks_ended(now, self.final_keep_rate, self.schedule)

    def keep(self, keys: Tensor) -> Tensor | None:
        """See `Job`."""
        part = self.augment
        return token_mask(self.model.grid, part.token_columns, part.token_rows, keys)

    def inputs(self, batch: TrainBatch, now: float) -> dict[str, Any]:
        """See `Job`."""
        waveforms, lengths, share = self.sounds(batch)
        inputs = self.changed(batch, now, waveforms, lengths) | {"keep_rate": self.keep_rate(now)}
        partners = self.targets[batch.draws.partner[batch.positions]]
        targets = self.targets[batch.positions]
        inputs["targets"] = targets * share[:, None] + partners * (1 - share)[:, None]
        if self.teacher:
            with torch.no_grad():
                inputs["teacher"] = self.teacher(
                    *self.teacher.features_from_batch(waveforms, lengths)
                )
        return inputs

    def evaluates(self, epoch: int) -> bool:
        """See `Job`."""
        return epoch + 1 == self.epochs or (epoch + 1) % self.select.every == 0

    def evaluate(
        self, accelerator: Accelerator, tick: Callable[[int, int], None]
    ) -> dict[str, Evaluation]:
        """See `Job`."""
        task, results = self.task, {}
        for name in ("valid", "test"):
            clips, targets = task.split(name)
            if clips:
                # The batch size is fixed, so that the metric does not depend on the processes.
                results[name] = evaluate_model(
                    accelerator, self.model, clips, targets, name=task.metric,
                    batch_size=min(32, self.run.micro_batch or 32), cache=self.cache,
                    seconds=task.features.seconds, workers=self.data.workers, tick=tick,
                )  # fmt: skip
        return results

    def selected_by(self, row: Mapping[str, Any]) -> str | None:
        """See `Job`."""
        split = self.select.split
        names = ("valid", "test") if split == "auto" else (split,)
        return next((name for name in names if name in row), None)

    def save_predictions(self, folder: Path, evaluations: Mapping[str, Evaluation]) -> None:
        """See `Job`."""
        save_predictions(folder, self.task, evaluations)


class Pretraining(Job):
    """Masked auto-encoding of clips without labels."""

    def __init__(
        self, recipe: PretrainRecipe, task: Task, cache: Path, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(recipe)
        self.task = task
        self.model, notes = initial_encoder(recipe, task)
        self.notes = [*task.notes, *notes]
        self.objective = MaskedAutoEncoder(
            self.model, recipe.decoder_width, recipe.decoder_depth, recipe.decoder_heads
        )
        self.mask = recipe.mask
        self.loader = self.batches(cache, rank, world)

    def keep(self, keys: Tensor) -> Tensor | None:
        """See `Job`."""
        return random_mask(self.model.grid.count, self.mask, keys)
