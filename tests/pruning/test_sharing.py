"""Models that `prune` returns share weights with their parent, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import extensions
from parameters import each_value
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan

each_family = pytest.mark.parametrize("family", ("ast", "audiomae"))


@pytest.fixture
def fresh(make):
    """A model of one's own, to be changed."""
    return lambda family: copy.deepcopy(make(family, depth=4))


@each_value(moved=["parent", "child", "grandchild"], dtype=[torch.float64, torch.bfloat16])
@each_family
def test_a_move_of_one_reaches_all(fresh, heard, family, dtype, moved):
    features, valid = heard("dog", "digit")
    parent = fresh(family)
    child = prune(parent, 0.6, blocks=(1, 2))
    grandchild = prune(child, 0.4, "intensity", (0,))
    {"parent": parent, "child": child, "grandchild": grandchild}[moved].to(dtype)
    for model in (parent, child, grandchild):
        assert {value.dtype for value in model.parameters()} == {dtype}
        assert model.filterbank.mel.dtype == torch.float32  # features stay exact
        assert model(features, valid).isfinite().all()
    for one, other in zip(parent.parameters(), grandchild.parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr()


@each_family
def test_train_and_eval_of_one_never_change_the_other(fresh, family):
    parent = fresh(family)
    child = prune(parent, 0.6, blocks=(1, 2))
    child.train()
    assert not any(part.training for part in parent.modules() if part is not parent.filterbank)
    parent.train()
    child.eval()
    assert all(part.training for part in parent.blocks.modules())
    assert prune(parent, 0.5, blocks=(1,)).training


class Dropped(nn.Module):
    """A score whose mode matters, with a weight and a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64))
        self.register_buffer("offset", torch.zeros(64))

    def forward(self, context):
        return context.uniform() + (context.carry((self.weight + self.offset).expand(2, -1))) * 0


def test_a_learned_score_is_shared_and_its_mode_is_not(fresh, heard):
    parent = prune(fresh("ast"), 0.6, Dropped(), (1, 2))
    child = parent.with_plan(parent.plan.with_keep_rate(0.3))
    (mine,), (its,) = parent.learned, child.learned
    child.train()
    assert its.training and not mine.training
    child.to(torch.float64)
    assert its.weight is mine.weight and mine.weight.dtype == torch.float64
    assert its.offset is mine.offset and mine.offset.dtype == torch.float64
    assert all(stage.rank is its for stage in child.plan.stages)
    assert all(stage.rank is mine for stage in parent.plan.stages)
    features, valid = heard("dog", "digit")
    assert parent(features, valid).isfinite().all()


def test_a_learned_score_takes_on_its_models_mode_and_device(fresh):
    model = fresh("ast")
    assert not prune(model, 0.5, "extensions:Learned", (1,)).learned[0].training
    assert prune(model.train(), 0.5, "extensions:Learned", (1,)).learned[0].training
    elsewhere = prune(model.to("meta"), 0.5, "extensions:Learned", (1,))
    assert elsewhere.learned[0].weigh.weight.is_meta


@each_family
def test_the_parents_plan_is_its_own(fresh, heard, family):
    features, valid = heard("dog", "digit")
    parent = fresh(family)
    whole = parent(features, valid)
    child = prune(parent, 0.3, blocks=(1, 2))
    assert parent.plan == Plan()
    assert torch.equal(parent(features, valid), whole)
    assert not torch.allclose(child(features, valid), whole)
    again = prune(child, 0.9, "variation", (0,))
    assert [s.at for s in child.plan.stages] == [1, 2]
    assert [s.at for s in again.plan.stages] == [0]
    with pytest.raises(AttributeError):
        child.plan.seed = 3


@each_family
def test_a_step_through_one_moves_the_other(fresh, heard, family):
    features, valid = heard("dog", "digit")
    parent = fresh(family)
    before = parent(features, valid).detach()
    child = prune(parent, 0.5, blocks=(1, 2)).train()
    optimiser = torch.optim.SGD(child.parameters(), lr=0.01)
    child(features, valid).square().mean().backward()
    assert parent.blocks[3].fc1.weight.grad.abs().sum() > 0
    optimiser.step()
    assert not torch.allclose(parent(features, valid), before)
    assert torch.equal(parent.blocks[0].qkv.weight, child.blocks[0].qkv.weight)
    trained = {name for name, value in child.named_parameters() if value.requires_grad}
    assert ("positions" in trained) == (family == "ast")  # AudioMAE's are fixed


@each_family
def test_a_deep_copy_shares_nothing(fresh, heard, family):
    features, valid = heard("dog", "digit")
    model = prune(fresh(family), 0.5, extensions.Learned(), (1, 2))
    other = copy.deepcopy(model)
    assert torch.equal(other(features, valid), model(features, valid))
    # What ranks is what the copy holds and saves.
    assert all(stage.rank is other.learned[0] for stage in other.plan.stages)
    assert other.learned[0] is not model.learned[0]
    before = model(features, valid)
    with torch.no_grad():
        other.learned[0].weigh.weight.neg_()
    assert torch.equal(model(features, valid), before)
    changed = other.trace(features, valid).scores[1]
    assert not torch.allclose(changed, model.trace(features, valid).scores[1])
    pointers = {value.data_ptr() for value in model.parameters()}
    assert not pointers & {value.data_ptr() for value in other.parameters()}
