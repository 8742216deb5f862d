"""Training batches: the same whoever computes them, and wherever an epoch is taken up."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch

from spectrim.common.errors import SpectrimError
from spectrim.data.augment import Augmentation
from spectrim.data.loader import TrainBatch, TrainLoader

WAVES = [
    np.random.default_rng(number).standard_normal(480 + 31 * number).astype(np.float32)
    for number in range(23)
]
ALL_ON = Augmentation(True, True, 0.5, 10.0, 16, 16, 0.1, 10)
SAMPLES = 900  # of a window


def load(position: int) -> np.ndarray:
    return WAVES[position]


def loader(
    count=23, batch_size=5, augment=ALL_ON, load=load, seed=0, held=False, **options
) -> TrainLoader:
    made = TrainLoader(load, count, augment, 32, batch_size, seed, **options)
    if held:
        made.hold()
    return made


def seen(batch: TrainBatch, augment=ALL_ON) -> list[tuple]:
    """All that was drawn and computed for each clip, as plain values that compare."""
    waveforms, lengths, shares = augment.waveforms(
        batch.bank, batch.draws, batch.positions, batch.followers, SAMPLES
    )
    rows = [
        (position, waveform.numpy().tobytes(), length, share)
        for position, waveform, length, share in zip(
            batch.positions.tolist(), waveforms, lengths.tolist(), shares.tolist(), strict=True
        )
    ]
    return [
        (*row, *(value[row[0]].numpy().tobytes() for value in vars(batch.draws).values()))
        for row in rows
    ]


def positions(batches) -> list[int]:
    return [position for batch in batches for position in batch.positions.tolist()]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("count", "batch_size"), [(23, 5), (20, 5), (3, 8), (1, 1), (23, 23)])
def test_each_clip_comes_once_an_epoch(count, batch_size, held):
    whole = loader(count, batch_size, held=held)
    for epoch in range(3):
        batches = list(whole.epoch(epoch))
        assert len(batches) == whole.steps == -(-count // batch_size)
        assert sorted(positions(batches)) == list(range(count))
        sizes = [len(batch.positions) for batch in batches]
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert sizes == [batch.clips for batch in batches]
        for batch in batches:
            clips = len(batch.positions)
            assert batch.weights.tolist() == pytest.approx([1 / clips] * clips)


def test_the_order_follows_from_seed_and_epoch_alone():
    orders = {
        (seed, epoch): tuple(positions(loader(seed=seed).epoch(epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    for (seed, epoch), order in orders.items():
        again = loader(seed=seed, batch_size=7, workers=1, augment=Augmentation(), held=True)
        assert tuple(positions(again.epoch(epoch))) == order == tuple(again.order(epoch))


@pytest.mark.parametrize("join", [0, SAMPLES])
@pytest.mark.parametrize("count", [23, 1])
def test_decoded_once_or_in_every_epoch_the_batches_are_the_same(join, count):
    streams = [loader(count, join=join, held=held) for held in (True, False)]
    for epoch in (0, 1):
        for one, other in zip(*(stream.epoch(epoch) for stream in streams), strict=True):
            assert seen(one) == seen(other)
            assert torch.equal(one.weights, other.weights) and one.clips == other.clips


def test_a_clip_is_augmented_alike_in_any_batch_and_anew_in_every_epoch():
    def by_clip(epoch, **options):
        facts = [fact for batch in loader(**options).epoch(epoch) for fact in seen(batch)]
        return {fact[0]: fact[1:] for fact in facts}

    one = by_clip(2)
    assert one == by_clip(2, batch_size=4)
    later, seeded = by_clip(3), by_clip(2, seed=1)
    for clip in range(23):
        assert one[clip][0] != later[clip][0] and one[clip][0] != seeded[clip][0]
    assert len({facts[-1] for facts in one.values()}) == 23  # no two clips share their key


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("join", [500, 1200, 4000])
def test_short_waveforms_are_followed_by_others_until_the_window_is_full(join, held):
    """Samples of each clip are its number, so a window shows which clips it joins."""
    waves = [np.full(400 + 300 * number, number, np.float32) for number in range(5)]
    for wave in waves:  # a mean of 0, which the bank subtracts
        wave[::2] *= -1
    made = loader(5, 2, Augmentation(), waves.__getitem__, join=join, held=held)
    followers = Counter()
    for epoch in range(30):
        for batch in made.epoch(epoch):
            windows, lengths, _ = made.augment.waveforms(
                batch.bank, batch.draws, batch.positions, batch.followers, join
            )
            for position, after, window, length in zip(
                batch.positions.tolist(), batch.followers.tolist(), windows, lengths, strict=True
            ):
                clips = np.concatenate([waves[clip] for clip in (position, *after)])
                assert length == join and np.array_equal(window.numpy(), clips[:join])
                if len(waves[position]) < join:
                    followers[after[0]] += 1
    shares = np.array([followers[clip] for clip in range(5)]) / followers.total()
    assert shares == pytest.approx([0.2] * 5, abs=5 * (0.16 / followers.total()) ** 0.5)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize(("count", "batch_size"), [(23, 6), (21, 5), (22, 7)])
def test_processes_together_compute_the_batches_of_one(world, count, batch_size, held):
    """Also where the last batch holds fewer clips than there are processes."""
    alone = loader(count, batch_size, join=SAMPLES)
    ranks = [
        loader(count, batch_size, rank=rank, world=world, join=SAMPLES, held=held)
        for rank in range(world)
    ]
    for epoch in (0, 1):
        parts = [list(rank.epoch(epoch)) for rank in ranks]
        for step, batch in enumerate(alone.epoch(epoch)):
            shares = [part[step] for part in parts]
            counted = [
                (facts, weight)
                for share in shares
                for facts, weight in zip(seen(share), share.weights.tolist(), strict=True)
                if weight
            ]
            expected = list(zip(seen(batch), batch.weights.tolist(), strict=True))
            assert Counter(counted) == Counter(expected)
            assert {share.clips for share in shares} == {batch.clips}
            assert sum(share.weights.sum().item() for share in shares) == pytest.approx(1)
            # Each process has something to compute, and about as much as the others.
            sizes = [len(share.positions) for share in shares]
            assert min(sizes) >= 1 and max(sizes) <= -(-batch.clips // world)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("world", [1, 2])
def test_from_any_step_on_come_the_very_same_batches(world, held):
    options = {"rank": world - 1, "world": world, "held": held, "join": SAMPLES}
    whole = list(loader(**options).epoch(4))
    for first in range(len(whole) + 1):
        rest = list(loader(**options).epoch(4, first=first))
        assert len(rest) == len(whole) - first
        for one, other in zip(rest, whole[first:], strict=True):
            assert seen(one) == seen(other)
            assert torch.equal(one.weights, other.weights) and one.clips == other.clips


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_threads_changes_nothing(workers):
    one = [seen(batch) for batch in loader(workers=2).epoch(0)]
    assert [seen(batch) for batch in loader(workers=workers).epoch(0)] == one


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, None])
def test_parts_of_a_batch_add_up_to_it(size):
    for batch in loader(join=SAMPLES).epoch(0):
        parts = list(batch.micro_batches(size))
        assert all(1 <= len(part.positions) <= (size or 5) for part in parts)
        assert [facts for part in parts for facts in seen(part)] == seen(batch)
        assert torch.equal(torch.cat([part.weights for part in parts]), batch.weights)
        assert all(part.clips == batch.clips for part in parts)


def damaged(*numbers: int):
    def load(position: int) -> np.ndarray:
        if position in numbers:
            raise SpectrimError(f"clip{position}.wav: not readable as sound.")
        return WAVES[position]

    return load


@pytest.mark.parametrize("held", [True, False])
def test_a_clip_that_cannot_be_read_weighs_nothing_and_is_named(held):
    plain = Augmentation(roll=True, gain=True)
    good = loader(augment=plain, held=held).epoch(0)
    failures = {}
    for one, other in zip(
        good, loader(augment=plain, load=damaged(3, 11), held=held).epoch(0), strict=True
    ):
        assert other.clips == one.clips
        failures |= other.bank.failures
        pairs = zip(seen(one, plain), seen(other, plain), other.weights.tolist(), strict=True)
        for expected, facts, weight in pairs:
            assert facts[0] == expected[0]
            if facts[0] in (3, 11):
                assert weight == 0 and facts[2] == 0 and not np.frombuffer(facts[1]).any()
            else:
                assert facts == expected and weight == pytest.approx(1 / one.clips)
    assert failures == {p: f"clip{p}.wav: not readable as sound." for p in (3, 11)}


@pytest.mark.parametrize("held", [True, False])
def test_a_clip_whose_partner_cannot_be_read_is_trained_on_unmixed(held):
    mixed = Augmentation(mixup=1.0)
    made, alone = loader(4, 2, augment=mixed, load=damaged(0), held=held), 0
    for epoch in range(20):
        for batch in made.epoch(epoch):
            for facts, weight in zip(seen(batch, mixed), batch.weights.tolist(), strict=True):
                position, waveform, length, share = facts[:4]
                assert (position == 0) == (weight == 0)
                if position and batch.draws.partner[position] == 0:
                    alone += 1
                    assert share == 1.0
                    plain = load(position) - load(position).mean()
                    assert np.array_equal(np.frombuffer(waveform, np.float32)[:length], plain)
    assert alone


@pytest.mark.parametrize("held", [True, False])
def test_if_no_clip_can_be_read_a_window_stays_empty(held):
    made = loader(4, 4, load=damaged(0, 1, 2, 3), join=SAMPLES, held=held)
    (batch,) = made.epoch(0)
    assert not batch.weights.any() and len(batch.bank.failures) == 4
    assert [facts[2] for facts in seen(batch)] == [0] * 4


@pytest.mark.parametrize("held", [True, False])
def test_another_error_is_not_swallowed(held):
    def broken(position):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(loader(load=broken, held=held).epoch(0))


def test_an_epoch_that_is_left_early_leaves_no_thread_and_decodes_no_more():
    loaded = []

    def slow(position):
        loaded.append(position)
        time.sleep(0.002)
        return load(position)

    before = threading.active_count()
    batches = loader(batch_size=7, augment=Augmentation(), load=slow, workers=1).epoch(0)
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
    assert len(loaded) <= 21  # this batch and the two ahead, of 23 clips
