"""Training batches: the same whoever computes them, and wherever an epoch is taken up."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest

from spectrim.common.errors import SpectrimError
from spectrim.data.augment import FeatureAugment, WaveformAugment
from spectrim.data.loader import TrainLoader

WAVES = [
    np.random.default_rng(number).standard_normal(80 + number).astype(np.float32)
    for number in range(23)
]
ALL_ON = WaveformAugment(roll=True, gain=True, mixup=0.5)


def load(position: int) -> np.ndarray:
    return WAVES[position]


def extra(now: float, rng: np.random.Generator):
    return now, FeatureAugment(16, 16, 0.1, 10).draw(32, 128, True, rng)


def loader(count=23, batch_size=5, augment=ALL_ON, load=load, extra=extra, seed=0, **options):
    return TrainLoader(load, count, augment, extra, batch_size=batch_size, seed=seed, **options)


def seen(items) -> list[tuple]:
    """All that was drawn, as plain values that compare."""
    return [
        (
            item.waveform.tobytes(), tuple(item.parts), item.extra[0], item.extra[1].time,
            item.extra[1].frequency, item.extra[1].noise.tobytes(), item.extra[1].shift,
            item.failure,
        )
        for item in items
    ]  # fmt: skip


def positions(batches) -> list[int]:
    return [item.parts[0][0] for batch in batches for item in batch.items]


@pytest.mark.parametrize(("count", "batch_size"), [(23, 5), (20, 5), (3, 8), (1, 1), (23, 23)])
def test_each_clip_comes_once_an_epoch(count, batch_size):
    whole = loader(count, batch_size)
    for epoch in range(3):
        batches = list(whole.epoch(epoch))
        assert len(batches) == whole.steps == -(-count // batch_size)
        assert sorted(positions(batches)) == list(range(count))
        sizes = [len(batch.items) for batch in batches]
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert sizes == [batch.clips for batch in batches]
        for batch in batches:
            assert batch.weights == pytest.approx(np.full(len(batch.items), 1 / len(batch.items)))


def test_the_order_follows_from_seed_and_epoch_alone():
    orders = {
        (seed, epoch): tuple(positions(loader(seed=seed).epoch(epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    for (seed, epoch), order in orders.items():
        again = loader(seed=seed, batch_size=7, workers=1, augment=WaveformAugment())
        assert tuple(positions(again.epoch(epoch))) == order == tuple(again.order(epoch))


def test_a_clip_is_augmented_alike_in_any_batch_and_anew_in_every_epoch():
    def by_clip(epoch, **options):
        items = [item for batch in loader(**options).epoch(epoch) for item in batch.items]
        return {item.parts[0][0]: seen([item])[0] for item in items}

    one, other = by_clip(2), by_clip(2, batch_size=4)
    drop_time = lambda facts: facts[:2] + facts[3:]  # noqa: E731
    assert {k: drop_time(v) for k, v in one.items()} == {k: drop_time(v) for k, v in other.items()}
    later, seeded = by_clip(3), by_clip(2, seed=1)
    for clip in range(23):
        assert one[clip][0] != later[clip][0] and one[clip][0] != seeded[clip][0]
    assert len({facts[5] for facts in one.values()}) == 23  # no two clips share their noise


def test_what_else_is_drawn_knows_how_far_the_epoch_is():
    batches = list(loader().epoch(7))
    for step, batch in enumerate(batches):
        assert {item.extra[0] for item in batch.items} == {7 + step / 5}


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize(("count", "batch_size"), [(23, 6), (21, 5), (22, 7)])
def test_processes_together_compute_the_batches_of_one(world, count, batch_size):
    """Also where the last batch holds fewer clips than there are processes."""
    alone = loader(count, batch_size)
    ranks = [loader(count, batch_size, rank=rank, world=world) for rank in range(world)]
    for epoch in (0, 1):
        parts = [list(rank.epoch(epoch)) for rank in ranks]
        for step, batch in enumerate(alone.epoch(epoch)):
            shares = [part[step] for part in parts]
            counted = [
                (facts, weight)
                for share in shares
                for facts, weight in zip(seen(share.items), share.weights.tolist(), strict=True)
                if weight
            ]
            expected = list(zip(seen(batch.items), batch.weights.tolist(), strict=True))
            assert Counter(counted) == Counter(expected)
            assert {share.clips for share in shares} == {batch.clips}
            assert sum(share.weights.sum() for share in shares) == pytest.approx(1)
            # Each process has something to compute, and about as much as the others.
            sizes = [len(share.items) for share in shares]
            assert min(sizes) >= 1 and max(sizes) <= -(-batch.clips // world)


@pytest.mark.parametrize("world", [1, 2])
def test_from_any_step_on_come_the_very_same_batches(world):
    options = {"rank": world - 1, "world": world}
    whole = list(loader(**options).epoch(4))
    for first in range(len(whole) + 1):
        rest = list(loader(**options).epoch(4, first=first))
        assert len(rest) == len(whole) - first
        for one, other in zip(rest, whole[first:], strict=True):
            assert seen(one.items) == seen(other.items)
            assert np.array_equal(one.weights, other.weights) and one.clips == other.clips


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_threads_changes_nothing(workers):
    one = [seen(batch.items) for batch in loader(workers=2).epoch(0)]
    assert [seen(batch.items) for batch in loader(workers=workers).epoch(0)] == one


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, None])
def test_parts_of_a_batch_add_up_to_it(size):
    for batch in loader().epoch(0):
        parts = list(batch.parts(size))
        assert all(1 <= len(part.items) <= (size or 5) for part in parts)
        assert seen([item for part in parts for item in part.items]) == seen(batch.items)
        assert np.array_equal(np.concatenate([part.weights for part in parts]), batch.weights)
        assert sum(part.weights.sum() for part in parts) == pytest.approx(1)
        assert all(part.clips == batch.clips for part in parts)


def test_a_clip_that_cannot_be_read_weighs_nothing_and_is_said():
    def damaged(position):
        if position in (3, 11):
            raise SpectrimError(f"clip{position}.wav: not readable as sound.")
        return load(position)

    plain = WaveformAugment(roll=True, gain=True)
    sound = [batch for batch in loader(augment=plain).epoch(0)]
    harmed = [batch for batch in loader(augment=plain, load=damaged).epoch(0)]
    failures = {}
    for one, other in zip(sound, harmed, strict=True):
        assert other.clips == one.clips
        for item, facts, weight, expected in zip(
            other.items, seen(other.items), other.weights, seen(one.items), strict=True
        ):
            position = item.parts[0][0]
            if position in (3, 11):
                failures[position] = item.failure
                assert weight == 0 and not item.waveform.any() and len(item.waveform) >= 400
                assert item.extra[0] == expected[2]
            else:
                assert facts == expected and item.failure is None
                assert weight == pytest.approx(1 / one.clips)
    assert failures == {p: f"clip{p}.wav: not readable as sound." for p in (3, 11)}


def test_a_clip_whose_partner_cannot_be_read_is_trained_on_unmixed():
    def damaged(position):
        if position == 0:
            raise SpectrimError("clip0.wav: empty.")
        return load(position)

    mixed = WaveformAugment(mixup=1.0)
    found = [
        (item, weight)
        for epoch in range(20)
        for batch in loader(4, 2, augment=mixed, load=damaged).epoch(epoch)
        for item, weight in zip(batch.items, batch.weights, strict=True)
    ]
    assert {item.parts[0][0] for item, weight in found if weight == 0} == {0}
    alone = [item for item, weight in found if weight and item.failure]
    assert alone and {item.failure for item in alone} == {"clip0.wav: empty."}
    for item in alone:
        ((position, share),) = item.parts
        assert share == 1.0
        np.testing.assert_array_equal(item.waveform, load(position) - load(position).mean())


def test_another_error_is_not_swallowed():
    def broken(position):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(loader(load=broken).epoch(0))


def test_an_epoch_that_is_left_early_leaves_no_thread_and_decodes_no_more():
    loaded = []

    def slow(position):
        loaded.append(position)
        time.sleep(0.002)
        return load(position)

    before = threading.active_count()
    batches = loader(batch_size=7, augment=WaveformAugment(), load=slow, workers=1).epoch(0)
    next(batches)
    batches.close()
    assert len(loaded) < 14  # the seven that were wanted; two batches ahead were asked for
    assert threading.active_count() <= before
