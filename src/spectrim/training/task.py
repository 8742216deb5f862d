"""What follows from the clips: classes, loss, activation, metric, length, mean and std."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..audio.constants import SAMPLE_RATE, num_frames, num_samples
from ..audio.decode import duration_of
from ..common.errors import SpectrimError
from ..data.manifest import Clip, Manifest, targets_of
from ..data.splits import Splits
from ..data.stats import measure
from ..models.config import NO_CLASSES
from ..pruning.patches import PATCH
from .classes import classes_of
from .manifests import check_files, splits_of
from .recipe import DataPart, PretrainRecipe, Recipe

MEASURED = 2000  # clips that mean and std are measured on, at most
LONGEST = 1024  # frames that a length chosen by itself never exceeds
CLASSES_SHOWN = 12
STRANGE = (
    "The classes are those of the training clips, or data.labels: name them all there, or take the "
    "row out."
)


@dataclass(frozen=True)
class Task:
    """A supervised task.

    Attributes:
        train, valid, test: clips; the last two may be empty.
        targets: class indices of each clip of `train + valid + test`.
        labels: names of the classes, in the order of the logits.
        loss: "bce" or "ce"; activation, metric: as `ModelConfig`.
        frames, mean, std: of the features.
        said: sentences about what was chosen, and why.
    """

    train: tuple[Clip, ...]
    valid: tuple[Clip, ...]
    test: tuple[Clip, ...]
    targets: list[list[int]]
    labels: tuple[str, ...]
    loss: str
    activation: str
    metric: str
    frames: int
    mean: float
    std: float
    said: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[tuple[Clip, ...], list[list[int]]]:
        """Clips of "train", "valid" or "test", and class indices of each."""
        begin = {"train": 0, "valid": len(self.train), "test": len(self.train) + len(self.valid)}
        clips: tuple[Clip, ...] = getattr(self, name)
        return clips, self.targets[begin[name] : begin[name] + len(clips)]

    @property
    def seconds(self) -> float:
        """How much of a clip the network sees, and a little more for the resampler's edge."""
        return num_samples(self.frames) / SAMPLE_RATE + 0.1


def settle(
    recipe: Recipe,
    known: dict[str, Any] | None = None,
    tick: Callable[[int], None] = lambda n: None,
) -> Task:
    """Read the clips and decide what the recipe leaves open.

    Args:
        known: mean and std measured by an earlier start of the same run.
        tick: called with clips whose log-mel was measured.

    Raises:
        SpectrimError: clips without a label or with one that is no class, missing files.
    """
    parts = splits_of(recipe.data, recipe.seed)
    said = [_counts(parts), *_unused_folds(recipe.data, parts)]
    labels, aliases = classes_of(recipe.data.labels, parts)
    single = all(len(clip.labels) == 1 for part in parts for clip in part.all())
    loss = recipe.loss.name if recipe.loss.name != "auto" else ("ce" if single else "bce")
    metric = recipe.select.metric
    if metric == "auto":
        metric = "accuracy" if single else "mAP"
    if loss == "bce" and recipe.loss.smoothing:
        raise SpectrimError("loss.smoothing goes with loss.name=ce; set one of the two.")
    activation = "softmax" if loss == "ce" else "sigmoid"
    why = "one label a clip" if single else "several labels a clip"
    shown = ", ".join(labels[:CLASSES_SHOWN]) + (", ..." if len(labels) > CLASSES_SHOWN else "")
    said.append(f"{len(labels)} classes ({shown}), {why}: loss {loss}, {activation}, {metric}.")
    counts = Counter(label for part in parts for clip in part.train.clips for label in clip.labels)
    if rare := [label for label in labels if counts[label] == 1]:
        said.append(f"a single clip to learn from: {', '.join(rare[:CLASSES_SHOWN])}. A typo?")
    groups: tuple[list[Clip], list[Clip], list[Clip]] = ([], [], [])
    targets: tuple[list[list[int]], ...] = ([], [], [])
    strict = loss == "ce" or metric == "accuracy"
    for part in parts:
        for clips, found, manifest in zip(
            groups, targets, (part.train, part.valid, part.test), strict=True
        ):
            _check_labelled(manifest)
            clips += manifest.clips
            found += targets_of(manifest, labels, strict, aliases, STRANGE)
    train, valid, test = map(tuple, groups)
    if {"valid": valid, "test": test}.get(recipe.select.split) == ():
        raise SpectrimError(
            f"select.split is {recipe.select.split!r}, and there is no such clip; data.holdout=0.1 "
            "holds a part of the training clips out as 'valid'."
        )
    check_files([part for splits in parts for part in (splits.train, splits.valid, splits.test)])
    frames, mean, std, more = features_of_data(recipe, train, known, tick)
    return Task(
        train, valid, test, [t for found in targets for t in found], labels, loss, activation,
        metric, frames, mean, std, (*said, *more),
    )  # fmt: skip


def unlabelled(
    recipe: PretrainRecipe,
    known: dict[str, Any] | None = None,
    tick: Callable[[int], None] = lambda n: None,
) -> Task:
    """As `settle`, for pre-training: the training clips of every manifest, labels left aside."""
    parts = splits_of(recipe.data, recipe.seed)
    check_files([part.train for part in parts])
    train = tuple(clip for part in parts for clip in part.train.clips)
    frames, mean, std, more = features_of_data(recipe, train, known, tick)
    said = (f"{len(train)} clips to pre-train on, without their labels.", *more)
    return Task(
        train, (), (), [[] for _ in train], (NO_CLASSES,), "ce", "softmax",
        "accuracy", frames, mean, std, said,
    )  # fmt: skip


def features_of_data(
    recipe: Recipe | PretrainRecipe,
    train: Sequence[Clip],
    known: dict[str, Any] | None,
    tick: Callable[[int], None],
) -> tuple[int, float, float, list[str]]:
    """Length, mean and std: as the recipe says, else measured on the training clips."""
    said, model = [], recipe.model
    frames = model.frames
    if frames is None:
        frames, text = _length(train)
        said.append(text)
    mean, std = model.mean, model.std
    if mean is None or std is None:
        if known is None:
            rng = np.random.default_rng(recipe.seed)
            sample = [train[at] for at in rng.permutation(len(train))[:MEASURED]]
            stats = measure(sample, num_samples(frames) / SAMPLE_RATE + 0.1, tick=tick)
            known = {"mean": round(stats.mean, 4), "std": round(stats.std, 4)}
            said.append(
                f"mean {known['mean']} and std {known['std']} of the log-mel, measured on "
                f"{len(sample)} training clips."
            )
        mean = known["mean"] if mean is None else mean
        std = known["std"] if std is None else std
    return frames, float(mean), float(std), said


def _counts(parts: Sequence[Splits]) -> str:
    train, valid, test = (
        sum(len(getattr(part, name).clips) for part in parts) for name in ("train", "valid", "test")
    )
    return f"{train} clips to train on, {valid} to choose the best epoch, {test} to test."


def _unused_folds(data: DataPart, parts: Sequence[Splits]) -> list[str]:
    folds = sorted({clip.fold for part in parts for clip in part.all() if clip.fold})
    if not folds or data.test_fold is not None or data.valid_fold is not None:
        return []
    return [f"the folds {', '.join(folds)} are not told apart; data.test_fold={folds[0]} would."]


def _check_labelled(manifest: Manifest) -> None:
    for clip in manifest.clips:
        if not clip.labels:
            raise SpectrimError(
                f"{manifest.source}, row {clip.row} ({clip.path.name}): no label; training needs "
                "one in every row. `spectrim pretrain` learns from clips without."
            )


def _length(clips: Sequence[Clip]) -> tuple[int, str]:
    """Frames that hold 95 % of the clips, as a multiple of a patch."""
    seconds = [
        clip.end - (clip.start or 0.0) if clip.end is not None
        else max(0.0, (duration_of(clip.path) or 0.0) - (clip.start or 0.0))
        for clip in clips
    ]  # fmt: skip
    most = np.quantile(seconds, 0.95)
    frames = num_frames(round(most * SAMPLE_RATE))
    frames = min(LONGEST, max(PATCH, -(-frames // PATCH) * PATCH))
    cut = sum(second > num_samples(frames) / SAMPLE_RATE + 0.01 for second in seconds)
    return frames, (
        f"{frames} frames ({num_samples(frames) / SAMPLE_RATE:.2f} s) for clips of "
        f"{min(seconds):.2f} to {max(seconds):.2f} s; {cut} of {len(clips)} are cut at their end."
    )


def with_labels(task: Task, labels: Sequence[str]) -> Task:
    """The same task with its classes in another order."""
    place = {label: at for at, label in enumerate(labels)}
    moved = [sorted(place[task.labels[at]] for at in clip) for clip in task.targets]
    return replace(task, labels=tuple(labels), targets=moved)
