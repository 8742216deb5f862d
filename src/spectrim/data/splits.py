"""Training, validation and test clips of a manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..common.errors import SpectrimError
from .clip import Clip
from .manifest import Manifest


@dataclass(frozen=True)
class Splits:
    """Three manifests over the same source; `valid` and `test` may be empty."""

    train: Manifest
    valid: Manifest
    test: Manifest

    def all(self) -> tuple[Clip, ...]:
        """All clips: training, validation, test."""
        return self.train.clips + self.valid.clips + self.test.clips


def split(
    manifest: Manifest,
    *,
    train_split: str = "train",
    valid_split: str = "valid",
    test_split: str = "test",
    test_fold: str | None = None,
    valid_fold: str | None = None,
    holdout: float = 0.0,
    seed: int = 0,
) -> Splits:
    """Divide a manifest by fold if one is given, otherwise by the column `split`.

    Without either, all clips are for training. `holdout` moves this fraction of the training
    clips to validation if there are no validation clips. They are drawn by `seed`, class by class
    (by the first label). If the fraction of several classes is less than one clip each, the
    fractions are added up, and as many of these classes give one clip.

    Raises:
        SpectrimError: a fold that does not exist or has two roles, or no clip left for training.
    """
    clips = manifest.clips
    if test_fold is not None and test_fold == valid_fold:
        raise SpectrimError(
            f"{manifest.source}: fold {test_fold} cannot be both the validation and the test fold."
        )
    if test_fold is not None or valid_fold is not None:
        selected = {fold: manifest.select(fold=fold) for fold in (test_fold, valid_fold) if fold}
        train = tuple(clip for clip in clips if clip.fold not in selected)
        valid = selected[valid_fold].clips if valid_fold else ()
        test = selected[test_fold].clips if test_fold else ()
    elif any(clip.split for clip in clips):
        train, valid, test = (
            tuple(clip for clip in clips if clip.split == name)
            for name in (train_split, valid_split, test_split)
        )
    else:
        train, valid, test = clips, (), ()
    if holdout and not valid:
        held_out = _held_out(train, holdout, seed)
        valid = tuple(clip for index, clip in enumerate(train) if index in held_out)
        train = tuple(clip for index, clip in enumerate(train) if index not in held_out)
    if not train:
        known = sorted({clip.split for clip in clips if clip.split})
        raise SpectrimError(
            f"{manifest.source}: no clip to train on (split {train_split!r}, test fold "
            f"{test_fold}, validation fold {valid_fold}); its splits: {', '.join(known) or 'none'}."
        )
    return Splits(*(replace(manifest, clips=part) for part in (train, valid, test)))


def _held_out(clips: Sequence[Clip], share: float, seed: int) -> set[int]:
    by_class: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        by_class[clip.labels[:1]].append(index)
    held_out: set[int] = set()
    generator = np.random.default_rng(seed)
    small: list[np.ndarray] = []  # classes whose share is less than one clip
    for label in sorted(by_class):
        order = generator.permutation(by_class[label])
        if share * len(order) < 1:
            small.append(order)
            continue
        count = min(round(share * len(order)), len(order) - 1)  # at least one is left for training
        held_out |= set(order[:count].tolist())
    # Rounded class by class, all of them would give no clip, or all would give one. So their
    # shares are added up, and randomly chosen classes give one clip each. Example: 30 classes of
    # 3 clips and a share of 0.1 give 9 clips.
    count = round(share * sum(map(len, small)))
    divisible = [order for order in small if len(order) > 1]
    for index in generator.permutation(len(divisible))[:count]:
        held_out.add(int(divisible[index][0]))
    return held_out
