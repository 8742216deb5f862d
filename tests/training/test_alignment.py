"""Alignment of attention: its loss against a slow one, its effect, and bad recipes."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

import spectrim
from parameters import each_value
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.training.make_job import make_job
from spectrim.training.objectives import Elastic
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from tones import RECIPE, write_recipe

BLOCKS = (3, 6, 9)
PLANS = (paper_plan(0.4), paper_plan((0.9, 1.0, 0.7)), paper_plan(0.6, "intensity"))


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    return {
        "features": seeded(3, 64, 128), "valid": torch.tensor([64, 20, 40]),
        "targets": torch.eye(5)[[0, 3, 4]], "weights": torch.tensor([0.5, 0.1, 0.2]),
    }  # fmt: skip


def rows(model: SpectrogramTransformer, clip, keep) -> list[dict[tuple[int, int], torch.Tensor]]:
    """For each block, the attention of each patch that reaches it, by (time column, row)."""
    features, valid = clip
    trace = model.trace(features, valid, score="attention", keep=keep)
    return [
        {tuple(place): score for place, score in zip(places[0].tolist(), scores[0], strict=True)}
        for places, scores in zip(trace.positions, trace.scores, strict=True)
    ]


def divergence(goal: dict, received: dict) -> torch.Tensor:
    """Over the patches of `received`, in which both are scaled to sum to 1."""
    share = sum(goal[place] for place in received)
    total = sum(received.values())
    return sum(
        (goal[place] / share) * (math.log(goal[place] / share) - (value / total).log())
        for place, value in received.items()
    )


def by_hand(model, batch, plans, keep=None) -> torch.Tensor:
    """The alignment loss clip by clip, patch by patch, from the public traces."""
    loss = torch.zeros(())
    for clip, weight in enumerate(batch["weights"]):
        one = batch["features"][clip : clip + 1], batch["valid"][clip : clip + 1]
        left = None if keep is None else keep[clip : clip + 1]
        unpruned = rows(model.with_plan(Plan()), one, left)
        goal = dict.fromkeys(unpruned[0], 0.0)
        for row in unpruned:
            for place, value in row.items():
                goal[place] += float((value / sum(row.values())).detach())
        for block in BLOCKS:
            loss = loss + weight / len(BLOCKS) * divergence(goal, unpruned[block])
        for plan in plans:
            if plan.stages[0].score != "attention":
                continue
            pruned = rows(spectrim.prune(model, plan=plan), one, left)
            for stage in plan.stages:
                if stage.keep_rate < 1.0:
                    loss = loss + weight / len(BLOCKS) * divergence(goal, pruned[stage.at])
    return loss


@each_value(family=["ast", "audiomae"], masked=[False, True])
def test_loss_and_gradient_are_those_of_a_slow_sum(make, batch, family, masked) -> None:
    model = copy.deepcopy(make(family, frames=64)).train()
    model = spectrim.prune(model, 1.0)
    keep = torch.zeros(3, 32, dtype=torch.bool)
    keep[:, ::2] = True
    tensors = batch | ({"keep": keep} if masked else {})
    plain, aligned = Elastic(model, "ce"), Elastic(model, "ce", align=0.7)
    loss = aligned(**tensors, plans=PLANS) - plain(**tensors, plans=PLANS)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    slow = 0.7 * by_hand(model, batch, PLANS, keep if masked else None)
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-3, abs=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            right = torch.zeros(()) if parameter.grad is None else parameter.grad
            assert torch.allclose(gradients[name], right, rtol=1e-2, atol=1e-5), name


def test_without_pruned_passes_nothing_is_aligned(make, batch) -> None:
    model = spectrim.prune(copy.deepcopy(make("ast", frames=64)), 1.0)
    assert torch.equal(Elastic(model, "ce", align=1.0)(**batch), Elastic(model, "ce")(**batch))


@each_value(family=["ast", "audiomae"])
def test_training_brings_the_ranking_to_the_mean_of_all_blocks(make, batch, family) -> None:
    """The divergence, which the slow sum measures, falls by more than half."""
    model = spectrim.prune(copy.deepcopy(make(family, frames=64)), 1.0).train()

    def distance() -> float:
        with torch.no_grad():
            return float(by_hand(model, batch, PLANS[:1]))

    before, optim = distance(), torch.optim.AdamW(model.parameters(), 3e-4)
    objective = Elastic(model, "ce", distil=0.0, align=1.0)
    for _ in range(15):
        optim.zero_grad()
        objective(**batch, plans=PLANS[:1]).backward()
        optim.step()
    assert before > 1e-4 and distance() < before / 2


ELASTIC = RECIPE.replace("keep_rate: 0.6", "keep_rate: 1.0").replace(
    "schedule: {start: 0.5, length: 1}", "schedule: {kind: elastic, low: 0.4, align: 1.0}"
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["schedule.align=-1"], "schedule.align is -1.0; expected at least 0"),
        (["score=intensity"], "requires the score attention"),
        (["reduction=tome"], "and the reduction keep-top"),
        (["schedule.scores=[intensity,variation]", "score=intensity"], "intensity, variation and"),
    ],
)
def test_recipes_without_a_ranking_by_attention_are_refused(
    tones: Path, tmp_path: Path, changes: list[str], text: str
) -> None:
    recipe = write_recipe(tmp_path, tones, ELASTIC)
    with pytest.raises(spectrim.SpectrimError) as error:
        read_recipe(recipe, changes, Recipe)
    assert text in str(error.value)


def test_align_reaches_the_objective_and_needs_elastic_training(
    tones: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, tones, ELASTIC)
    objective = make_job(read_recipe(recipe, [], Recipe), tmp_path).objective
    assert isinstance(objective, Elastic) and objective.align == 1.0
    with pytest.warns(spectrim.SpectrimNotice, match=r"schedule\.align has no effect without"):
        read_recipe(recipe, ["schedule.kind=cosine"], Recipe)
