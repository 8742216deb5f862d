"""Losses against PyTorch's own, NumPy and slow loops over patches; drop path by count."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import spectrim
from extensions import Learned, merge
from parameters import each_value
from spectrim.models.block import Block
from spectrim.pruning.tokens import Tokens
from spectrim.training.objectives import MaskedAutoEncoder, Supervised, classification, distillation
from spectrim.training.optim import optimiser, parameter_groups, set_lr
from spectrim.training.recipe import OptimPart


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(clips: int, classes: int = 5) -> torch.Tensor:
    """Mixed targets: two classes a clip, 0.7 and 0.3."""
    targets = torch.zeros(clips, classes)
    for clip in range(clips):
        targets[clip, clip % classes] = 0.7
        targets[clip, (clip + 2) % classes] = 0.3
    return targets


@pytest.fixture
def batch():
    """Three clips of 64 frames, of which the last two hold 20 and 40 sound frames."""
    return seeded(3, 64, 128), torch.tensor([64, 20, 40])


@pytest.fixture
def model(make):
    return copy.deepcopy(make("ast", frames=64))


# ---- supervised losses


def test_binary_cross_entropy_is_the_mean_over_classes():
    logits, targets = seeded(6, 5) * 3, shares(6)
    found = classification(logits, targets, "bce")
    for clip in range(6):
        assert found[clip].item() == pytest.approx(
            nn.BCEWithLogitsLoss()(logits[clip], targets[clip]).item()
        )
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    t = targets.numpy().astype(np.float64)
    by_hand = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(1)
    assert found.numpy() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_of_shares_and_smoothed_labels(smoothing):
    logits, targets = seeded(6, 5) * 3, shares(6)
    found = classification(logits, targets, "ce", smoothing)
    x = logits.numpy().astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    smooth = (1 - smoothing) * targets.numpy() + smoothing / 5
    assert found.numpy() == pytest.approx(-(smooth * log_p).sum(1), rel=1e-5)
    single = torch.arange(6) % 5
    oracle = nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing)(logits, single)
    hot = nn.functional.one_hot(single, 5).float()
    assert classification(logits, hot, "ce", smoothing).tolist() == pytest.approx(oracle.tolist())


def test_planted_losses():
    sure = torch.tensor([[20.0, -20.0], [-20.0, 20.0]])
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert classification(sure, right, "bce").tolist() == pytest.approx([0, 20], abs=1e-6)
    assert classification(sure, right, "ce").tolist() == pytest.approx([0, 40], abs=1e-6)
    even = torch.zeros(1, 4)
    assert classification(even, torch.eye(4)[:1], "ce").item() == pytest.approx(np.log(4))
    assert classification(even, torch.eye(4)[:1], "bce").item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_kullback_leibler_times_the_temperature_squared(temperature):
    logits, teacher = seeded(4, 5) * 4, seeded(4, 5, seed=1) * 4
    found = distillation(logits, teacher, "ce", temperature)
    q = np.exp(logits.numpy().astype(np.float64) / temperature)
    p = np.exp(teacher.numpy().astype(np.float64) / temperature)
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    by_hand = (p * np.log(p / q)).sum(1) * temperature**2
    assert found.numpy() == pytest.approx(by_hand, rel=1e-4)
    assert (found > 0).all()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_of_independent_classes(temperature):
    logits, teacher = seeded(4, 5) * 4, seeded(4, 5, seed=1) * 4
    found = distillation(logits, teacher, "bce", temperature)
    q, p = (
        1 / (1 + np.exp(-x.numpy().astype(np.float64) / temperature)) for x in (logits, teacher)
    )
    by_hand = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(1) * temperature**2
    assert found.numpy() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_a_teacher_that_says_the_same_teaches_nothing(kind):
    logits = (seeded(4, 5) * 3).requires_grad_()
    loss = distillation(logits, logits.detach().clone(), kind, 2.0)
    if kind == "ce":
        assert loss.tolist() == pytest.approx([0] * 4, abs=1e-6)
    loss.sum().backward()
    assert logits.grad.abs().max() < 1e-6


@each_value(
    loss_of=[("bce", 0.0), ("ce", 0.0), ("ce", 0.2)], keep_rate=[1.0, 0.6],
    family=["ast", "audiomae"],
)  # fmt: skip
def test_the_loss_of_a_batch_is_the_weighted_sum(make, batch, loss_of, keep_rate, family):
    kind, smoothing = loss_of
    model = spectrim.prune(make(family, frames=64), keep_rate=0.3).train()
    features, valid = batch
    weights, targets = torch.tensor([0.5, 0.0, 0.2]), shares(3)
    loss = Supervised(model, kind, smoothing)(features, valid, targets, weights, keep_rate)
    slow = 0.0
    for clip in range(3):
        one = features[clip : clip + 1], valid[clip : clip + 1]
        logits = spectrim.prune(model, keep_rate=keep_rate)(*one)[0]
        if kind == "bce":
            own = nn.BCEWithLogitsLoss()(logits, targets[clip])
        else:
            own = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets[clip])
        slow += weights[clip].item() * own.item()
    assert loss.item() == pytest.approx(slow, rel=1e-4)


def test_token_masking_reaches_the_model(model, batch):
    keep = torch.zeros(3, 32, dtype=torch.bool)
    keep[:, ::2] = True
    objective, weights = Supervised(model, "ce"), torch.full((3,), 1 / 3)
    loss = objective(*batch, shares(3), weights, 1.0, keep)
    logits = model(*batch, keep=keep)
    assert loss.item() == pytest.approx(nn.CrossEntropyLoss()(logits, shares(3)).item(), rel=1e-5)
    assert loss.item() != pytest.approx(objective(*batch, shares(3), weights, 1.0).item())


@pytest.mark.parametrize("kind", ["ce", "bce"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_teachers_share_of_the_loss(model, batch, kind, share):
    weights, targets, teacher = torch.tensor([0.1, 0.6, 0.3]), shares(3), seeded(3, 5, seed=2)
    objective = Supervised(model, kind, share=share, temperature=2.0)
    loss = objective(*batch, targets, weights, 1.0, None, teacher)
    logits = model(*batch)
    own = classification(logits, targets, kind)
    taught = distillation(logits, teacher, kind, 2.0)
    by_hand = sum(
        w * ((1 - share) * a + share * b)
        for w, a, b in zip(weights.tolist(), own.tolist(), taught.tolist(), strict=True)
    )
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_every_parameter_that_is_used_gets_a_gradient(model, batch):
    Supervised(model, "ce")(*batch, shares(3), torch.full((3,), 1 / 3), 0.5).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


# ---- auxiliary losses


class Marked(nn.Module):
    """A score that adds its one parameter to the loss each time it ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = nn.Parameter(torch.tensor(0.25))

    def forward(self, context):
        context.losses.append(self.mark * 1.0)
        return context.patches().mean(-1)


@pytest.mark.parametrize(
    ("blocks", "keep_rate", "ran"),
    [((3, 6, 9), 0.5, 3), ((6,), 0.5, 1), (("input", 2), 0.5, 2), ((3, 6, 9), 1.0, 0)],
)
def test_an_auxiliary_loss_counts_once_for_every_stage_that_ran(
    make, batch, blocks, keep_rate, ran
):
    plain = spectrim.prune(make("ast", frames=64), 0.5, "intensity-padded", blocks)
    marked = spectrim.prune(make("ast", frames=64), 0.5, Marked(), blocks)
    for weights in (torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.1, 0.0, 0.15])):
        with_it, without = (
            Supervised(model, "ce")(*batch, shares(3), weights, keep_rate).item()
            for model in (marked, plain)
        )
        # In parts of a batch their weights add up to one: so do the auxiliary losses.
        assert with_it - without == pytest.approx(0.25 * ran * weights.sum().item(), abs=1e-5)


def test_an_auxiliary_loss_has_a_gradient_and_moves_its_parameter(make, batch):
    model = spectrim.prune(copy.deepcopy(make("ast", frames=64)), 0.5, Marked())
    objective, optim = Supervised(model, "bce"), OptimPart(name="adamw", lr=0.1)
    stepper = optimiser(parameter_groups(objective, 12, optim), optim)
    set_lr(stepper, 0.1)
    objective(*batch, shares(3), torch.full((3,), 1 / 3), 0.5).backward()
    (mark,) = [p for n, p in objective.named_parameters() if n.endswith("mark")]
    assert mark.grad.item() == pytest.approx(3)  # three stages rank
    stepper.step()
    assert mark.item() == pytest.approx(0.25 - 0.1, abs=1e-5)


@pytest.mark.parametrize("reduction", ["keep-top", merge])
def test_a_learned_score_is_taught_by_its_own_loss(make, batch, reduction):
    model = spectrim.prune(
        copy.deepcopy(make("audiomae", frames=64)), 0.6, Learned(target=0.9), reduction=reduction
    )
    objective, optim = Supervised(model, "ce"), OptimPart(name="adamw", lr=0.01)
    stepper = optimiser(parameter_groups(objective, 12, optim), optim)
    set_lr(stepper, 0.01)
    own = {n: p for n, p in objective.named_parameters() if "weigh." in n}
    before = {n: p.detach().clone() for n, p in own.items()}
    assert len(own) == 2
    losses = []
    for _ in range(8):
        stepper.zero_grad()
        loss = objective(*batch, shares(3), torch.full((3,), 1 / 3), 0.6)
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in own.values())
        losses.append(loss.item())
        stepper.step()
    assert all(not torch.equal(own[n], before[n]) for n in own)
    assert losses[-1] < losses[0]


# ---- masked auto-encoding


@pytest.fixture(params=["audiomae", "ast"])
def guesser(make, request):
    torch.manual_seed(0)
    return MaskedAutoEncoder(copy.deepcopy(make(request.param, frames=64, depth=2)), 32, 1, 2)


def seen_of(clips: int, count: int = 8) -> torch.Tensor:
    """(clips, 32) bool: another `count` patches of each clip."""
    keep = torch.zeros(clips, 32, dtype=torch.bool)
    for clip in range(clips):
        keep[clip, np.random.default_rng(clip).permutation(32)[:count]] = True
    return keep


def wanted_of(guesser, features) -> np.ndarray:
    """(clips, patches, 256): every patch cut out by hand and normalised by its own values."""
    grid = guesser.model.grid
    found = np.zeros((len(features), 32, 256))
    for clip in range(len(features)):
        for column in range(4):
            for row in range(8):
                frames, bins = slice(16 * column, 16 * column + 16), slice(16 * row, 16 * row + 16)
                patch = features[clip, frames, bins].numpy().astype(np.float64).ravel()
                normal = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
                found[clip, grid.index(column, row)] = normal
    return found


def slow_loss(guesser, guess, features, valid, weights, keep) -> float:
    wanted, grid, total = wanted_of(guesser, features), guesser.model.grid, 0.0
    for clip in range(len(features)):
        errors = []
        for column in range(4):
            for row in range(8):
                place = grid.index(column, row)
                if not keep[clip, place] and 16 * column < valid[clip]:
                    errors.append(((guess[clip, place] - wanted[clip, place]) ** 2).mean())
        if errors:
            total += weights[clip].item() * np.mean(errors)
    return total


def test_the_loss_is_that_of_a_slow_loop_over_hidden_patches(guesser, batch):
    weights, keep = torch.tensor([0.5, 0.3, 0.1]), seen_of(3)
    guess = guesser.guess(*batch, keep)
    assert guess.shape == (3, 32, 256) and guess.dtype == torch.float32
    loss = guesser(*batch, weights, keep)
    slow = slow_loss(guesser, guess.detach().numpy(), *batch, weights, keep)
    assert loss.item() == pytest.approx(slow, rel=1e-5)


def test_a_perfect_guess_of_what_counts_has_no_loss(guesser, batch, monkeypatch):
    features, valid = batch
    keep, weights = seen_of(3), torch.full((3,), 1 / 3)
    perfect = torch.from_numpy(wanted_of(guesser, features)).float()
    column = guesser.model.grid.locate(torch.arange(32))[:, 0]
    silent = 16 * column >= valid[:, None]
    nonsense = torch.where((keep | silent)[..., None], 1e3, perfect)
    monkeypatch.setattr(guesser, "guess", lambda *args: nonsense)
    assert guesser(*batch, weights, keep).item() == pytest.approx(0, abs=1e-8)
    # One hidden patch with sound that is 0.5 off: 0.25 of the mean over those of its clip.
    counts = ~keep & ~silent
    place = int(counts[1].nonzero()[0])
    off = nonsense.clone()
    off[1, place] += 0.5
    monkeypatch.setattr(guesser, "guess", lambda *args: off)
    expected = 0.25 / int(counts[1].sum()) / 3
    assert guesser(*batch, weights, keep).item() == pytest.approx(expected, rel=1e-4)


def test_what_is_hidden_does_not_reach_the_encoder(guesser, batch):
    features, valid = batch
    keep = seen_of(3)
    guess = guesser.guess(features, valid, keep)
    grid = guesser.model.grid
    hidden, shown = features.clone(), features.clone()
    for clip in range(3):
        for column in range(4):
            for row in range(8):
                cell = (clip, slice(16 * column, 16 * column + 16), slice(16 * row, 16 * row + 16))
                if not keep[clip, grid.index(column, row)]:
                    hidden[cell] += seeded(16, 16, seed=1)
                else:
                    shown[cell] += seeded(16, 16, seed=1)
    assert torch.equal(guesser.guess(hidden, valid, keep), guess)
    assert not torch.allclose(guesser.guess(shown, valid, keep), guess, atol=1e-4)


def test_the_decoder_sees_every_patch_in_its_place(guesser, batch):
    """The sequence put together clip by clip and patch by patch."""
    features, valid = batch
    keep = seen_of(3)
    num_prefix_tokens = guesser.model.config.num_prefix_tokens
    guess = guesser.guess(features, valid, keep)
    for clip in range(3):
        one = slice(clip, clip + 1)
        tokens = guesser.model.encode(features[one], valid[one], keep=keep[one])
        embedded = guesser.embed(guesser.norm(tokens.x[0]))
        rows = list(embedded[:num_prefix_tokens])
        for patch in range(32):
            there = (tokens.origin[0] == patch).nonzero().flatten()
            assert len(there) == int(keep[clip, patch])
            rows.append(
                embedded[num_prefix_tokens + int(there)] if len(there) else guesser.mask_token[0, 0]
            )
        x = torch.stack(rows)[None] + guesser.positions
        by_hand = guesser.predict(guesser.decoder_norm(guesser.decoder(x)))[0, num_prefix_tokens:]
        assert torch.allclose(guess[clip], by_hand, atol=1e-5)


def test_the_loss_is_linear_in_the_weights(guesser, batch):
    keep = seen_of(3)
    alone = [guesser(*batch, torch.eye(3)[clip], keep).item() for clip in range(3)]
    weights = torch.tensor([0.2, 0.0, 0.7])
    assert guesser(*batch, weights, keep).item() == pytest.approx(0.2 * alone[0] + 0.7 * alone[2])


def test_a_clip_whose_hidden_patches_are_all_padding_counts_nothing(guesser, batch):
    features, _ = batch
    column = guesser.model.grid.locate(torch.arange(32))[:, 0]
    keep = (column == 0).expand(3, -1)
    loss = guesser(features, torch.tensor([16, 3, 1]), torch.full((3,), 1 / 3), keep)
    assert loss.item() == 0
    loss.backward()
    assert all(
        p.grad is None or torch.isfinite(p.grad).all() for p in guesser.parameters()
    )  # fmt: skip


def test_silence_has_a_finite_loss_and_gradient(guesser):
    features = torch.full((2, 64, 128), -1.3)
    loss = guesser(features, torch.tensor([64, 64]), torch.full((2,), 0.5), seen_of(2))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in guesser.parameters() if p.grad is not None)


def test_encoder_and_decoder_learn_and_the_head_stays(guesser, batch):
    model = guesser.model
    frozen = {
        n: p.detach().clone()
        for n, p in guesser.named_parameters()
        if n.startswith(("model.head", "model.norm.", "positions"))
    }
    assert len(frozen) in (5, 7)  # head, its norm and the decoder's positions; AST's norm
    optim = OptimPart(name="adamw", lr=1e-3, weight_decay=0.1)
    stepper = optimiser(parameter_groups(guesser, 2, optim), optim)
    set_lr(stepper, 1e-3)
    keep, losses = seen_of(3), []
    for _ in range(15):
        stepper.zero_grad()
        loss = guesser(*batch, torch.full((3,), 1 / 3), keep)
        loss.backward()
        losses.append(loss.item())
        stepper.step()
    for name, parameter in guesser.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]) and not parameter.requires_grad
        elif parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.any(), name
    assert losses[-1] < losses[0]
    assert model.positions.requires_grad == model.config.learned_positions


# ---- drop path


class Halves:
    """A block's two residuals for many clips at once."""

    def __init__(self, rate: float, clips: int = 4000) -> None:
        torch.manual_seed(1)
        self.block = Block(16, 2, 1e-6)
        self.block.drop_path = rate
        x = torch.randn(clips, 3, 16)
        self.tokens = Tokens(x, 1, torch.arange(2).expand(clips, -1))

    def __call__(self, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        self.block.train(training)
        with torch.no_grad():
            attended, _ = self.block.attend(self.tokens, None, 0, False)
            transformed = self.block.transform(self.tokens)
        return attended.x - self.tokens.x, transformed.x - self.tokens.x


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_clip_loses_its_whole_residual_by_chance(rate):
    halves = Halves(rate)
    whole, partial = halves(False), halves(True)
    lost = []
    for full, dropped in zip(whole, partial, strict=True):
        gone = (dropped == 0).all((1, 2))
        stays = dropped[~gone]
        assert torch.allclose(stays, full[~gone] / (1 - rate), atol=1e-5)  # all its tokens
        spread = (rate * (1 - rate) / len(full)) ** 0.5
        assert gone.float().mean().item() == pytest.approx(rate, abs=5 * spread)
        # What is left is scaled up: the sum over clips stays what it was.
        kept = (dropped * full).sum() / full.square().sum()
        assert kept.item() == pytest.approx(1, abs=0.1)
        lost.append(gone.float())
    # Attention and MLP lose theirs independently.
    assert abs(np.corrcoef(torch.stack(lost))[0, 1]) < 5 / 4000**0.5


def test_it_grows_linearly_with_depth(model):
    model.set_drop_path(0.1)
    assert [b.drop_path for b in model.blocks] == pytest.approx(np.linspace(0, 0.1, 12).tolist())
    model.set_drop_path(0.0)
    assert {b.drop_path for b in model.blocks} == {0.0}


def test_another_plan_and_keep_rate_still_drop_paths(model):
    model.set_drop_path(0.3)
    pruned = spectrim.prune(model, keep_rate=0.5)
    assert [b.drop_path for b in pruned.blocks] == [b.drop_path for b in model.blocks]


@pytest.mark.parametrize("keep_rate", [1.0, 0.5])
def test_it_is_off_where_nothing_is_trained(model, batch, keep_rate):
    pruned = spectrim.prune(model, keep_rate=keep_rate)
    plain = pruned.eval()(*batch)
    assert torch.equal(pruned.train()(*batch), plain)  # at rate 0
    pruned.set_drop_path(0.5)
    assert torch.equal(pruned.eval()(*batch), plain)
    pruned.train()
    torch.manual_seed(0)
    one = pruned(*batch)
    torch.manual_seed(0)
    assert torch.equal(pruned(*batch), one)  # the seed of a step decides
    assert not torch.allclose(one, plain) and not torch.equal(pruned(*batch), one)


def test_it_is_no_part_of_what_a_model_is(model, tmp_path):
    model.set_drop_path(0.5)
    loaded = spectrim.load(model.save(tmp_path))
    assert {block.drop_path for block in loaded.blocks} == {0.0}
