"""`keep=` equals really removing the other patches, clip by clip."""

from __future__ import annotations

import oracle
import pytest
import torch

from parameters import each_value
from spectrim.common.errors import SpectrimError
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

FAMILIES = ("ast", "audiomae")
each_family = pytest.mark.parametrize("family", FAMILIES)
CLIPS = ("dog", "digit", "rain")


def masks(counts, patches=64, seed=0):
    """(batch, patches) bool, so many patches each."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.zeros(len(counts), patches, dtype=torch.bool)
    for row, count in zip(keep, counts, strict=True):
        row[torch.randperm(patches, generator=generator)[:count]] = True
    return keep


def close(one, other):
    return torch.allclose(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keep_after", [0, 1, 5, 12])
@each_value(counts=[(30, 30, 30), (30, 7, 64), (1, 64, 2)], family=FAMILIES)
def test_keep_equals_the_slow_removal_of_patches(make, heard, family, keep_after, counts):
    model = make(family, dtype=torch.float64)
    features, valid = heard(*CLIPS)
    keep = masks(counts)
    logits = model(features, valid, keep=keep, keep_after=keep_after)
    for row in range(3):

        def remove(pieces, _, row=row):
            return [piece for piece in pieces if keep[row, piece.origin]]

        at = ("after", keep_after - 1) if keep_after else "input"
        assert close(logits[row].double(), oracle.forward(model, features[row], {at: remove}))
    if counts != (30, 30, 30) and (keep_after < 12 or family == "audiomae"):
        assert not close(logits, model(features, valid))


@pytest.mark.parametrize("keep_after", [0, 1, 5, 12])
@each_value(score=["attention", "intensity", "random"], family=FAMILIES)
def test_keep_with_a_plan_equals_each_clip_alone(make, heard, family, keep_after, score):
    model = make(family, dtype=torch.float64)
    features, valid = heard(*CLIPS)
    # With 12 blocks before the drop, few of few stay: keep most, so that some are left.
    keep = masks((64, 50, 41) if keep_after == 12 else (40, 9, 25))
    pruned = prune(model, 0.7, score)
    trace = pruned.trace(features, valid, keep=keep, keep_after=keep_after)
    together = pruned(features, valid, keep=keep, keep_after=keep_after)
    assert close(trace.logits, together)
    for row in range(3):
        one = slice(row, row + 1)
        alone = pruned.trace(features[one], valid[one], keep=keep[one], keep_after=keep_after)
        assert close(together[row], alone.logits[0])
        for block in (3, 6, 9):
            present = trace.present[block]
            mine = trace.kept[block][row]
            mine = mine if present is None else mine[present[row]]
            assert sorted(mine.tolist()) == sorted(alone.kept[block][0].tolist())


@each_family
def test_keep_with_a_stage_at_the_input_or_a_count(make, heard, family):
    model = make(family)
    features, valid = heard(*CLIPS)
    keep = masks((40, 9, 25))
    plan = Plan((Stage("input", 0.6, score="variation"), Stage(2, count=7)))
    pruned = model.with_plan(plan)
    together = pruned(features, valid, keep=keep)
    for row in range(3):
        one = slice(row, row + 1)
        assert close(together[row], pruned(features[one], valid[one], keep=keep[one])[0])


def test_equal_counts_are_gathered_and_unequal_ones_masked():
    tokens = Tokens(torch.randn(2, 66, 4), 2, torch.arange(64).expand(2, -1))
    keep = masks((20, 20))
    equal = tokens.only(keep)
    assert equal.present is None and equal.count == 20
    assert torch.equal(equal.x[:, :2], tokens.x[:, :2])
    for row in range(2):
        assert torch.equal(equal.origin[row], keep[row].nonzero()[:, 0])
        assert torch.equal(equal.patches[row], tokens.patches[row][keep[row]])
    unequal = tokens.only(masks((20, 5)))
    assert unequal.count == 20
    assert unequal.present.sum(1).tolist() == [20, 5]
    assert unequal.bias()[1, 0, 0].isneginf().sum() == 15


@each_family
def test_keeping_all_changes_nothing(make, heard, family):
    model = make(family)
    features, valid = heard(*CLIPS)
    everything = torch.ones(3, 64, dtype=torch.bool)
    for keep_after in (0, 5, 12):
        kept = model(features, valid, keep=everything, keep_after=keep_after)
        assert torch.equal(kept, model(features, valid))


@each_family
def test_a_clip_with_no_patch_left_is_named(make, heard, family):
    model = make(family)
    features, valid = heard(*CLIPS)
    for keep_after in (0, 3):
        with pytest.raises(SpectrimError, match=r"no patch in clips \[1\]"):
            model(features, valid, keep=masks((3, 0, 5)), keep_after=keep_after)
    # Left by the plan, and then by keep: silence is in front, its first patches are kept.
    pruned = prune(model, 0.5, "intensity", (1,))
    last = torch.zeros(1, 64, dtype=torch.bool)
    last[0, 63] = True
    with pytest.raises(SpectrimError, match=r"no patch in clips \[0\]"):
        pruned(torch.zeros(1, 128, 128), keep=last, keep_after=2)


def test_keep_of_a_wrong_shape_type_or_place(make, heard):
    model = make("ast")
    features, valid = heard(*CLIPS)
    good = masks((3, 4, 5))
    for keep, keep_after in ((good[:2], 0), (good.float(), 0), (good[:, :9], 0)):
        with pytest.raises(SpectrimError, match="keep is"):
            model(features, valid, keep=keep, keep_after=keep_after)
    for keep_after in (-1, 13, 1.5):
        with pytest.raises(SpectrimError, match="keep_after is"):
            model(features, valid, keep=good, keep_after=keep_after)


def test_what_is_absent_stays_so_whatever_is_kept():
    """A reduction has taken patch 2 of the second clip; `keep` names it all the same."""
    origin = torch.arange(4).expand(2, -1)
    present = torch.tensor([[True] * 4, [True, True, False, True]])
    tokens = Tokens(torch.randn(2, 5, 8), 1, origin, present=present)
    left = tokens.only(torch.tensor([[True, True, True, False]] * 2))
    assert left.origin[0].tolist() == [0, 1, 2] and left.origin[1, :2].tolist() == [0, 1]
    assert left.present.tolist() == [[True] * 3, [True, True, False]]


def test_a_patch_that_is_absent_is_carried_by_no_token():
    origin, present = torch.tensor([[2, 0]]), torch.tensor([[True, False]])
    tokens = Tokens(torch.zeros(1, 3, 8), 1, origin, present=present)
    assert tokens.holders(4).tolist() == [[-1, -1, 0, -1]]
