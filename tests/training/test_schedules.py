"""Keep-rate and learning rate against numbers by hand and PyTorch's own schedulers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from spectrim.training.recipe import OptimPart, SchedulePart
from spectrim.training.schedules import keep_rate_at, lr_at, masks_ended

AS_AUDIOMAE = OptimPart(base_lr=1e-3, batch_size=32, warmup_epochs=4, min_lr=1e-5)
AS_AST = OptimPart(
    lr=1e-4, schedule="step", step_start=10, step_every=5, step_factor=0.5, warmup_steps=1000,
    warmup_every=50,
)  # fmt: skip
SPC_AST = OptimPart(lr=2.5e-4, schedule="step", step_start=5, step_every=1, step_factor=0.85)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 1.0),
        (13.999, 1.0),
        (14, 1.0),  # pruning starts here, from 1.0 downwards
        (16.5, 0.7 + 0.3 * (1 + math.sqrt(0.5)) / 2),
        (19, (1 + 0.7) / 2),
        (21.5, 0.7 + 0.3 * (1 - math.sqrt(0.5)) / 2),
        (24, 0.7),
        (24.001, 0.7),
        (29.99, 0.7),
    ],
)
def test_the_keep_rate_falls_by_half_a_cosine(epoch, rate):
    schedule = SchedulePart(start=14, length=10)
    assert keep_rate_at(epoch, 0.7, schedule) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize("final", [0.3, 0.5, 0.9])
def test_the_keep_rate_moves_every_step_and_never_up(final):
    schedule = SchedulePart(start=2, length=3)
    steps = 50
    rates = [keep_rate_at(step / steps, final, schedule) for step in range(7 * steps)]
    assert rates[: 2 * steps + 1] == [1.0] * (2 * steps + 1)
    falling = rates[2 * steps : 5 * steps + 1]
    assert all(later < earlier for earlier, later in itertools.pairwise(falling))
    assert rates[5 * steps :] == [final] * (2 * steps)
    # Point symmetric around its middle: what is lost before it is lost again after.
    for ahead in range(steps):
        pair = rates[3 * steps + steps // 2 - ahead] + rates[3 * steps + steps // 2 + ahead]
        assert pair == pytest.approx(1 + final)


@pytest.mark.parametrize("schedule", [SchedulePart(), SchedulePart(2, 3), SchedulePart(0, 5)])
def test_at_keep_rate_1_nothing_ever_starts(schedule):
    for epoch in (0, 1.9, 2, 2.5, 4, 5, 100):
        assert keep_rate_at(epoch, 1.0, schedule) == 1.0
        assert not masks_ended(epoch, 1.0, schedule)


def test_a_schedule_of_no_length_jumps():
    schedule = SchedulePart(start=3, length=0)
    assert keep_rate_at(2.999, 0.4, schedule) == 1.0
    assert keep_rate_at(3, 0.4, schedule) == keep_rate_at(9, 0.4, schedule) == 0.4
    assert keep_rate_at(0, 0.4, SchedulePart()) == 0.4


@pytest.mark.parametrize("final", [0.7, 1.0])
def test_masks_end_at_the_first_step_of_an_epoch(final):
    """Where pruning starts; and, for what is compared with it, where it would."""
    schedule = SchedulePart(start=14, length=10, masks_end="pruned" if final < 1 else "always")
    ended = [masks_ended(step / 321, final, schedule) for step in range(30 * 321)]
    assert ended == [False] * (14 * 321) + [True] * (16 * 321)
    assert keep_rate_at(29, final, schedule) == final


def test_audiomae_on_audioset_warms_up_and_falls_to_its_least():
    """MAE's rule: base * total / 256; 60 epochs, 4 of warm-up; to 1e-5."""
    peak, steps = 1e-3 * 32 / 256, 642
    assert peak == 1.25e-4
    expected = {
        0: 0.0,
        1: peak / (4 * steps),
        2 * steps: peak / 2,
        3 * steps + 321: peak * 3.5 / 4,
        4 * steps: peak,
        18 * steps: 1e-5 + (peak - 1e-5) * (1 + math.sqrt(0.5)) / 2,
        32 * steps: (peak + 1e-5) / 2,
        46 * steps: 1e-5 + (peak - 1e-5) * (1 - math.sqrt(0.5)) / 2,
        60 * steps: 1e-5,
    }
    found = {step: lr_at(step, steps, 60, AS_AUDIOMAE) for step in expected}
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("warm_up", [{"warmup_epochs": 2}, {"warmup_steps": 14}])
def test_the_cosine_is_pytorchs_after_the_warm_up(warm_up):
    steps, epochs, optim = 7, 9, OptimPart(lr=0.5, min_lr=0.1, **warm_up)
    oracle = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(oracle, 7 * steps, eta_min=0.1)
    for step in range(2 * steps, epochs * steps):
        assert lr_at(step, steps, epochs, optim) == pytest.approx(scheduler.get_last_lr()[0])
        oracle.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("optim", "first", "every", "factor", "epochs"),
    [(AS_AST, 10, 5, 0.5, 30), (SPC_AST, 5, 1, 0.85, 30)],
)
def test_asts_steps_are_pytorchs_milestones(optim, first, every, factor, epochs):
    """AST calls its scheduler when an epoch has ended; milestones count ended epochs."""
    steps = 101
    oracle = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=optim.lr)
    milestones = list(range(first, 1000, every))
    scheduler = torch.optim.lr_scheduler.MultiStepLR(oracle, milestones, factor)
    for epoch in range(epochs):
        for step in (epoch * steps, epoch * steps + 50, epoch * steps + steps - 1):
            if step >= optim.warmup_steps:
                found = lr_at(step, steps, epochs, optim)
                assert found == pytest.approx(scheduler.get_last_lr()[0]), (epoch, step)
        oracle.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("ended", "factor"),
    [(9, 1), (10, 0.5), (14, 0.5), (15, 0.25), (19, 0.25), (20, 0.125), (29, 0.0625)],
)
def test_asts_rate_on_audioset_halves_after_10_15_20_epochs(ended, factor):
    first, last = ended * 321, ended * 321 + 320
    for step in (first, last):
        assert lr_at(step, 321, 30, AS_AST) == pytest.approx(1e-4 * factor)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0), (49, 0), (50, 0.05), (99, 0.05), (100, 0.1), (525, 0.5), (999, 0.95), (1000, 1)],
)
def test_asts_warm_up_moves_every_50_steps_from_0(step, share):
    assert lr_at(step, 321, 30, AS_AST) == pytest.approx(1e-4 * share, abs=1e-15)


def test_asts_warm_up_is_the_loop_of_its_code():
    """`if global_step <= 1000 and global_step % 50 == 0: lr = global_step / 1000 * lr`."""
    lr = None
    for step in range(1200):
        if step <= 1000 and step % 50 == 0:
            lr = step / 1000 * 1e-4
        assert lr_at(step, 321, 30, AS_AST) == pytest.approx(lr, abs=1e-15)


def test_a_constant_rate_warms_up_and_stays():
    optim = OptimPart(lr=0.2, schedule="constant", warmup_steps=10)
    found = [lr_at(step, 5, 4, optim) for step in range(20)]
    assert found == pytest.approx([0.02 * step for step in range(10)] + [0.2] * 10)


@pytest.mark.parametrize("batch", [64, 256, 512])
def test_a_base_rate_is_for_256_clips(batch):
    optim = OptimPart(base_lr=2e-4, batch_size=batch, schedule="constant")
    assert lr_at(3, 10, 3, optim) == pytest.approx(2e-4 * batch / 256)


def test_a_plain_rate_is_not_scaled_by_the_batch():
    for batch in (8, 512):
        optim = OptimPart(lr=3e-4, batch_size=batch, schedule="constant")
        assert lr_at(3, 10, 3, optim) == 3e-4


@pytest.mark.parametrize(("warmup_epochs", "epochs"), [(4, 4), (10, 4), (0, 1), (0.5, 1)])
def test_a_warm_up_as_long_as_the_run_is_no_error(warmup_epochs, epochs):
    optim = OptimPart(lr=1.0, warmup_epochs=warmup_epochs)
    rates = [lr_at(step, 6, epochs, optim) for step in range(6 * epochs)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) > 0
