"""Which clips of a manifest are trained on, which choose the best epoch, which are the test."""

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
    """Divide a manifest, by fold where one is named, else by the column `split`.

    Without either, all clips are trained on. `holdout` then moves this share of the training
    clips to validation, class by class (by the first label), drawn by `seed`; classes whose share
    is less than a clip give a clip each from as many of them as their shares add up to.

    Raises:
        SpectrimError: a fold that is not there or has two roles, or nothing left to train on.
    """
    clips = manifest.clips
    if test_fold is not None and test_fold == valid_fold:
        raise SpectrimError(
            f"{manifest.source}: fold {test_fold} cannot choose the best epoch and be the test."
        )
    if test_fold is not None or valid_fold is not None:
        wanted = {fold: manifest.select(fold=fold) for fold in (test_fold, valid_fold) if fold}
        train = tuple(clip for clip in clips if clip.fold not in wanted)
        valid = wanted[valid_fold].clips if valid_fold else ()
        test = wanted[test_fold].clips if test_fold else ()
    elif any(clip.split for clip in clips):
        train, valid, test = (
            tuple(clip for clip in clips if clip.split == name)
            for name in (train_split, valid_split, test_split)
        )
    else:
        train, valid, test = clips, (), ()
    if holdout and not valid:
        held = _held_out(train, holdout, seed)
        valid = tuple(clip for at, clip in enumerate(train) if at in held)
        train = tuple(clip for at, clip in enumerate(train) if at not in held)
    if not train:
        there = sorted({clip.split for clip in clips if clip.split})
        raise SpectrimError(
            f"{manifest.source}: no clip to train on (split {train_split!r}, test fold "
            f"{test_fold}, validation fold {valid_fold}); its splits: {', '.join(there) or 'none'}."
        )
    return Splits(*(replace(manifest, clips=part) for part in (train, valid, test)))


def _held_out(clips: Sequence[Clip], share: float, seed: int) -> set[int]:
    by_class: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, clip in enumerate(clips):
        by_class[clip.labels[:1]].append(at)
    held: set[int] = set()
    generator = np.random.default_rng(seed)
    owed: list[np.ndarray] = []  # of classes whose share is less than a clip
    for label in sorted(by_class):
        order = generator.permutation(by_class[label])
        if share * len(order) < 1:
            owed.append(order)
            continue
        count = min(round(share * len(order)), len(order) - 1)  # one is left to learn from
        held |= set(order[:count].tolist())
    # Rounded one by one, they would all give none, or all give one: they give theirs together.
    count = round(share * sum(map(len, owed)))
    several = [order for order in owed if len(order) > 1]
    for at in generator.permutation(len(several))[:count]:
        held.add(int(several[at][0]))
    return held
