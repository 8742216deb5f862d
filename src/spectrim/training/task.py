"""Values of a recipe that its clips determine: classes, loss, metric, length, mean and std."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..common.errors import SpectrimError
from ..common.paths import is_file, user_path
from ..common.text import shortened
from ..common.values import duplicates
from ..data.clip import Clip
from ..data.manifest import Manifest, targets_of
from ..data.splits import Splits
from ..models.config import LABEL_SEPARATOR
from ..models.labels import audioset, audioset_labels, labels_in
from .feature_settings import Features, Tick, features_of, no_tick
from .manifests import check_files, splits_of
from .read_recipe import check_smoothing
from .recipe import DataPart, LossPart, PretrainRecipe, Recipe, SelectPart

CLASSES_SHOWN = 12
UNKNOWN_LABEL = (
    "The classes are those of the training clips, or data.labels. List every class in data.labels, "
    "or remove the row."
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Clips to train on, and the settings of their features.

    Attributes:
        train: clips.
        features: front end, length, mean and std.
        notes: sentences about what was chosen, and why.
    """

    train: tuple[Clip, ...]
    features: Features
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SupervisedTask(Task):
    """Clips with classes, and how a model of them is trained and evaluated.

    Attributes:
        valid, test: clips; both may be empty.
        targets: class indices of each clip of `train + valid + test`.
        labels: class names, in the order of the logits.
        loss: "bce" or "ce".
        activation, metric: as in `ModelConfig`.
    """

    valid: tuple[Clip, ...]
    test: tuple[Clip, ...]
    targets: list[list[int]]
    labels: tuple[str, ...]
    loss: str
    activation: str
    metric: str

    def split(self, name: str) -> tuple[tuple[Clip, ...], list[list[int]]]:
        """Clips of "train", "valid" or "test", and the class indices of each."""
        begin = {"train": 0, "valid": len(self.train), "test": len(self.train) + len(self.valid)}
        clips: tuple[Clip, ...] = getattr(self, name)
        return clips, self.targets[begin[name] : begin[name] + len(clips)]

    def with_labels(self, labels: Sequence[str]) -> SupervisedTask:
        """The same task with its classes in another order."""
        index = {label: number for number, label in enumerate(labels)}
        new_index = [index[label] for label in self.labels]
        targets = [sorted(new_index[old] for old in classes) for classes in self.targets]
        return replace(self, labels=tuple(labels), targets=targets)


def resolve_task(
    recipe: Recipe, measured: dict[str, Any] | None = None, tick: Tick = no_tick
) -> SupervisedTask:
    """Read the clips and decide the values that the recipe leaves open.

    Args:
        measured: mean and std from an earlier start of the same run.
        tick: called with the number of clips whose log-mel was measured since the last call.

    Raises:
        SpectrimError: clips without a label or with an unknown one, or missing files.
    """
    divided = splits_of(recipe.data, recipe.seed)
    labels, aliases = classes_of(recipe.data.labels, divided)
    loss, activation, metric, reason = _objective(recipe.loss, recipe.select, divided)
    shown = ", ".join(labels[:CLASSES_SHOWN]) + (", ..." if len(labels) > CLASSES_SHOWN else "")
    notes = [
        _split_sizes(divided),
        *_unused_folds(recipe.data, divided),
        f"{len(labels)} classes ({shown}), {reason}: loss {loss}, {activation}, {metric}.",
        *_rare_classes(labels, divided),
        *_unlearnable_classes(labels),
    ]
    single_label = loss == "ce" or metric == "accuracy"
    clips: dict[str, list[Clip]] = {"train": [], "valid": [], "test": []}
    targets: dict[str, list[list[int]]] = {"train": [], "valid": [], "test": []}
    for splits in divided:
        for name in clips:
            manifest: Manifest = getattr(splits, name)
            _check_labelled(manifest)
            clips[name] += manifest.clips
            targets[name] += targets_of(manifest, labels, single_label, aliases, UNKNOWN_LABEL)
    chosen_by = recipe.select.split
    if chosen_by in clips and not clips[chosen_by]:
        raise SpectrimError(
            f"select.split is {chosen_by!r}, but there is no such clip. Add data.holdout=0.1 to "
            "hold out a tenth of the training clips as 'valid'."
        )
    check_files([getattr(splits, name) for splits in divided for name in clips])
    train = tuple(clips["train"])
    features, more = features_of(recipe, train, measured, tick)
    return SupervisedTask(
        train=train, valid=tuple(clips["valid"]), test=tuple(clips["test"]),
        targets=[classes for name in targets for classes in targets[name]], labels=labels,
        loss=loss, activation=activation, metric=metric, features=features,
        notes=(*notes, *more),
    )  # fmt: skip


def resolve_pretraining(
    recipe: PretrainRecipe, measured: dict[str, Any] | None = None, tick: Tick = no_tick
) -> Task:
    """As `resolve_task`, for pre-training: the training clips of every manifest, without labels."""
    divided = splits_of(recipe.data, recipe.seed)
    check_files([splits.train for splits in divided])
    train = tuple(clip for splits in divided for clip in splits.train.clips)
    features, more = features_of(recipe, train, measured, tick)
    notes = (f"{len(train)} clips to pre-train on, without their labels.", *more)
    return Task(train=train, features=features, notes=notes)


def classes_of(labels: Any, divided: Sequence[Splits]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Class names in the order of the logits, and aliases of the names.

    Args:
        labels: `data.labels` of a recipe: names, "audioset" or a file of names; None: all labels
            of the training clips, sorted.

    Raises:
        SpectrimError: the file does not exist, or a name occurs twice or is not text.
    """
    if labels == "audioset":
        return audioset_labels(), dict(audioset())
    if labels is None:
        return tuple(sorted({name for splits in divided for name in splits.train.labels()})), {}
    if isinstance(labels, str):
        file = user_path(labels)
        if not is_file(file):
            raise SpectrimError(
                f"data.labels is {labels!r}; expected a list of names, 'audioset', or a file with "
                "one name per line."
            )
        labels = labels_in(file)
    if unusable := [name for name in labels if isinstance(name, bool) or name is None]:
        raise SpectrimError(
            f"data.labels contains {unusable[0]!r}: YAML does not read yes, no, on, off and null "
            "as text. Put such names in quotes."
        )
    names = tuple(str(name) for name in labels)
    if repeated := duplicates(names):
        raise SpectrimError(
            f"data.labels names {shortened(repeated)} more than once. List each class once."
        )
    return names, {}


def _objective(
    loss_part: LossPart, select: SelectPart, divided: Sequence[Splits]
) -> tuple[str, str, str, str]:
    """Loss, activation and metric, and the reason for the choice."""
    single = all(len(clip.labels) == 1 for splits in divided for clip in splits.all())
    loss = loss_part.name if loss_part.name != "auto" else ("ce" if single else "bce")
    metric = select.metric if select.metric != "auto" else ("accuracy" if single else "mAP")
    check_smoothing(loss, loss_part.smoothing, "clips with several labels")
    activation = "softmax" if loss == "ce" else "sigmoid"
    return loss, activation, metric, f"{'one label' if single else 'several labels'} per clip"


def _split_sizes(divided: Sequence[Splits]) -> str:
    train, valid, test = (
        sum(len(getattr(splits, name).clips) for splits in divided)
        for name in ("train", "valid", "test")
    )
    return f"{train} clips to train on, {valid} to choose the best epoch, {test} to test."


def _unused_folds(data: DataPart, divided: Sequence[Splits]) -> list[str]:
    folds = sorted({clip.fold for splits in divided for clip in splits.all() if clip.fold})
    if not folds or data.test_fold is not None or data.valid_fold is not None:
        return []
    names = ", ".join(folds)
    return [f"the folds {names} are not used; data.test_fold={folds[0]} holds one out as the test."]


def _rare_classes(labels: Sequence[str], divided: Sequence[Splits]) -> list[str]:
    counts = Counter(
        label for splits in divided for clip in splits.train.clips for label in clip.labels
    )
    rare = [label for label in labels if counts[label] == 1]
    names = ", ".join(rare[:CLASSES_SHOWN])
    return [f"only one training clip each: {names}. Is that a typo?"] if rare else []


def _unlearnable_classes(labels: Sequence[str]) -> list[str]:
    """Notes on a single class, and on names that no row of a CSV manifest can have."""
    notes = []
    if len(labels) == 1:
        notes.append(
            f"the only class is {labels[0]}, so the model learns to give every clip this class. "
            "Add clips of another class."
        )
    if split := [label for label in labels if LABEL_SEPARATOR in label]:
        notes.append(
            f"no row of a CSV manifest can have the class {shortened(split)}: "
            f"{LABEL_SEPARATOR!r} separates labels there."
        )
    return notes


def _check_labelled(manifest: Manifest) -> None:
    for clip in manifest.clips:
        if not clip.labels:
            raise SpectrimError(
                f"{manifest.source}, row {clip.row} ({clip.path.name}): no label. Training needs "
                "one in every row; `spectrim pretrain` learns from clips without labels."
            )
