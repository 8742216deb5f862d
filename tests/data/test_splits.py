"""Folds, splits and held-out clips of small manifests, against counts by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from spectrim.common.errors import SpectrimError
from spectrim.data.clip import Clip
from spectrim.data.manifest import Manifest
from spectrim.data.splits import split


def manifest(*clips: Clip) -> Manifest:
    return Manifest(Path("clips.csv"), clips)


def names(part: Manifest) -> list[str]:
    return [clip.path.name for clip in part.clips]


def of(label: str, count: int, **columns) -> list[Clip]:
    return [Clip(Path(f"{label}{number}"), (label,), **columns) for number in range(count)]


@pytest.fixture
def folds() -> Manifest:
    """Five folds of six clips, each row also of a split that must not matter."""
    return manifest(
        *(
            Clip(Path(f"{fold}-{number}"), (f"c{number % 2}",), split="train", fold=str(fold))
            for number in range(6)
            for fold in range(1, 6)
        )
    )


def test_a_fold_is_the_test_and_the_others_are_trained_on(folds):
    found = split(folds, test_fold="2")
    assert names(found.test) == [f"2-{number}" for number in range(6)]
    assert names(found.train) == [
        clip.path.name for clip in folds.clips if not clip.path.name.startswith("2")
    ]
    assert not found.valid.clips


def test_a_second_fold_chooses_the_epoch(folds):
    found = split(folds, test_fold="2", valid_fold="5")
    assert {name[0] for name in names(found.valid)} == {"5"}
    assert {name[0] for name in names(found.test)} == {"2"}
    assert {name[0] for name in names(found.train)} == {"1", "3", "4"}
    assert [len(part.clips) for part in (found.train, found.valid, found.test)] == [18, 6, 6]
    assert Counter(found.all()) == Counter(folds.clips)
    only = split(folds, valid_fold="5")
    assert (len(only.train.clips), len(only.valid.clips), len(only.test.clips)) == (24, 6, 0)


def test_clips_without_a_fold_are_trained_on(folds):
    extra = Clip(Path("extra"), ("c0",))
    found = split(manifest(*folds.clips, extra), test_fold="1")
    assert extra in found.train.clips and extra not in found.test.clips


def test_the_column_split_decides():
    clips = manifest(
        *of("a", 3, split="train"), *of("b", 2, split="valid"), *of("c", 1, split="test"),
        *of("d", 2, split="unused"), *of("e", 1),
    )  # fmt: skip
    found = split(clips)
    assert names(found.train) == ["a0", "a1", "a2"]
    assert names(found.valid) == ["b0", "b1"]
    assert names(found.test) == ["c0"]
    other = split(clips, train_split="unused", valid_split="train", test_split="none")
    assert names(other.train) == ["d0", "d1"]
    assert names(other.valid) == ["a0", "a1", "a2"]
    assert not other.test.clips


def test_without_either_all_are_trained_on():
    found = split(manifest(*of("a", 4)))
    assert names(found.train) == ["a0", "a1", "a2", "a3"]
    assert not found.valid.clips and not found.test.clips
    assert found.train.source == Path("clips.csv")


@pytest.mark.parametrize(
    ("share", "counts"), [(0.1, (2, 1, 0)), (0.2, (4, 2, 1)), (0.5, (10, 5, 2))]
)
def test_a_share_of_every_class_is_held_out(share, counts):
    clips = manifest(*of("a", 20), *of("b", 10), *of("c", 4))
    found = split(clips, holdout=share)
    held = Counter(clip.labels[0] for clip in found.valid.clips)
    assert tuple(held[name] for name in "abc") == counts
    assert Counter(found.all()) == Counter(clips.clips)
    assert not set(found.train.clips) & set(found.valid.clips)
    # In the manifest's order, on both sides.
    order = {clip: at for at, clip in enumerate(clips.clips)}
    for part in (found.train, found.valid):
        places = [order[clip] for clip in part.clips]
        assert places == sorted(places)


@pytest.mark.parametrize(("size", "expected"), [(4, 20), (6, 30), (9, 45)])
def test_small_classes_give_their_share_together(size, expected):
    """Fifty classes, a tenth: rounded one by one they would give none, or one each."""
    clips = manifest(*(row for at in range(50) for row in of(f"c{at}", size)))
    held = Counter(clip.labels[0] for clip in split(clips, holdout=0.1).valid.clips)
    assert sum(held.values()) == expected and set(held.values()) == {1}
    draws = {frozenset(split(clips, holdout=0.1, seed=seed).valid.labels()) for seed in range(5)}
    assert len(draws) == 5


def test_what_is_held_out_follows_from_the_seed_alone():
    clips = manifest(*of("a", 40), *of("b", 40))
    draws = [frozenset(split(clips, holdout=0.1, seed=seed).valid.clips) for seed in range(8)]
    assert draws[3] == frozenset(split(clips, holdout=0.1, seed=3).valid.clips)
    assert len(set(draws)) == 8
    # And not from the order in which classes first occur.
    assert {clip.labels[0] for clip in frozenset.union(*draws)} == {"a", "b"}


def test_every_clip_may_be_held_out():
    clips = manifest(*of("a", 10))
    seen = Counter(
        clip for seed in range(300) for clip in split(clips, holdout=0.2, seed=seed).valid.clips
    )
    shares = [seen[clip] / 300 for clip in clips.clips]
    assert shares == pytest.approx([0.2] * 10, abs=5 * (0.2 * 0.8 / 300) ** 0.5)


def test_nothing_is_held_out_where_validation_clips_are_there(folds):
    found = split(folds, test_fold="1", valid_fold="2", holdout=0.5)
    assert (len(found.train.clips), len(found.valid.clips)) == (18, 6)
    given = manifest(*of("a", 10, split="train"), *of("b", 2, split="valid"))
    assert names(split(given, holdout=0.5).valid) == ["b0", "b1"]


def test_the_test_clips_are_never_held_out(folds):
    found = split(folds, test_fold="3", holdout=0.25)
    assert len(found.test.clips) == 6 and len(found.valid.clips) == 6
    assert {name[0] for name in names(found.valid)} <= set("1245")


def test_clips_of_several_labels_or_none_are_held_out_by_the_first():
    clips = manifest(
        *(Clip(Path(f"x{n}"), ("a", "b") if n % 2 else ("b", "a")) for n in range(20)),
        *(Clip(Path(f"y{n}")) for n in range(10)),
    )
    held = Counter(clip.labels[:1] for clip in split(clips, holdout=0.2).valid.clips)
    assert held == {("a",): 2, ("b",): 2, (): 2}


@pytest.mark.parametrize("key", ["test_fold", "valid_fold"])
def test_a_fold_that_is_not_there_is_named_with_those_that_are(folds, key):
    with pytest.raises(SpectrimError, match=r"clips.csv: no clip of fold '9'; it has 1, 2, 3, 4"):
        split(folds, **{key: "9"})
    with pytest.raises(SpectrimError, match="has no column fold"):
        split(manifest(*of("a", 3)), **{key: "1"})


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(SpectrimError, match=r"clips.csv: no clip to train on.*test"):
        split(manifest(*of("a", 3, split="test")))
    with pytest.raises(SpectrimError, match=r"no clip to train on.*'learn'.*dev, train"):
        split(manifest(*of("a", 1, split="train"), *of("b", 1, split="dev")), train_split="learn")
    with pytest.raises(SpectrimError, match=r"no clip to train on.*test fold 1"):
        split(manifest(*of("a", 3, fold="1")), test_fold="1")


def test_one_fold_cannot_both_choose_the_epoch_and_be_the_test(folds):
    with pytest.raises(SpectrimError, match="fold"):
        split(folds, test_fold="2", valid_fold="2")


@pytest.mark.parametrize(("count", "share"), [(1, 0.6), (4, 0.9)])
def test_holding_out_leaves_every_class_a_clip_to_learn_from(count, share):
    found = split(manifest(*of("a", 20), *of("rare", count)), holdout=share)
    assert found.train.labels() == {"a", "rare"}
