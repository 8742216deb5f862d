"""Parameter groups by name and layer, and what weight decay does in each optimiser."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import spectrim
from extensions import Learned
from spectrim.training.objectives import MaskedAutoEncoder, Supervised
from spectrim.training.optim import optimiser, parameter_groups, set_lr
from spectrim.training.recipe import OptimPart

AUDIOMAE = OptimPart(lr=1.0, layer_decay=0.75, weight_decay=1e-4, betas=[0.9, 0.95])


def placed(objective: nn.Module, optim: OptimPart = AUDIOMAE) -> dict[str, dict]:
    """Every parameter's name to its group's facts; fails where one stands twice."""
    names = {id(value): name for name, value in objective.named_parameters()}
    found: dict[str, dict] = {}
    for group in parameter_groups(objective, objective.model.config.depth, optim):
        for parameter in group["params"]:
            name = names[id(parameter)].removeprefix("model.")
            assert name not in found
            found[name] = {key: group[key] for key in ("scale", "weight_decay", "layer")}
    return found


@pytest.fixture(scope="module")
def ast(make):
    return Supervised(copy.deepcopy(make("ast", frames=64)), "ce")


@pytest.fixture(scope="module")
def encoder(make):
    return MaskedAutoEncoder(copy.deepcopy(make("audiomae", frames=64)), 32, 2, 2)


@pytest.mark.parametrize(
    ("name", "power"),
    [
        ("patch.weight", 13), ("patch.bias", 13), ("prefix_tokens", 13), ("positions", 13),
        ("blocks.0.qkv.weight", 12), ("blocks.0.norm1.bias", 12), ("blocks.1.fc1.weight", 11),
        ("blocks.5.proj.weight", 7), ("blocks.10.fc2.bias", 2), ("blocks.11.norm2.weight", 1),
        ("norm.weight", 0), ("head_norm.weight", 0), ("head.weight", 0), ("head.bias", 0),
    ],
)  # fmt: skip
def test_a_layers_rate_is_0_75_to_the_power_of_the_layers_above(ast, name, power):
    assert placed(ast)[name]["scale"] == pytest.approx(0.75**power)


def test_all_parameters_of_a_block_share_its_rate(ast):
    for name, facts in placed(ast).items():
        if name.startswith("blocks."):
            assert facts["scale"] == pytest.approx(0.75 ** (13 - (int(name.split(".")[1]) + 1)))


def test_without_layer_decay_all_rates_are_one(ast):
    assert {facts["scale"] for facts in placed(ast, OptimPart(lr=1)).values()} == {1.0}


def test_every_trainable_parameter_stands_in_one_group(ast, encoder):
    for objective in (ast, encoder):
        trained = {
            name.removeprefix("model.")
            for name, value in objective.named_parameters()
            if value.requires_grad
        }
        assert placed(objective).keys() == trained


def test_fixed_positions_and_the_unused_head_are_in_no_group(encoder, make):
    found = placed(encoder)
    model = encoder.model
    assert not model.config.learned_positions
    for frozen in (
        encoder.positions,
        model.positions,
        *model.head.parameters(),
        *model.head_norm.parameters(),
    ):
        assert not frozen.requires_grad
    assert not {"positions", "head.weight", "head.bias", "head_norm.weight"} & found.keys()
    fine = placed(Supervised(copy.deepcopy(make("audiomae", frames=64)), "bce"))
    assert "positions" not in fine and "prefix_tokens" in fine and "head.weight" in fine


def test_the_decoder_learns_at_the_full_rate(encoder):
    found = placed(encoder)
    parts = ("embed", "decoder", "predict", "mask_token")
    own = [name for name in found if name.split(".")[0] in parts]
    assert len(own) > 10
    assert {found[name]["scale"] for name in own} == {1.0}
    assert found["blocks.11.qkv.weight"]["scale"] == pytest.approx(0.75)
    assert found["patch.weight"]["scale"] == pytest.approx(0.75**13)


def test_a_learned_score_learns_at_the_full_rate(make):
    model = spectrim.prune(make("ast", frames=64), keep_rate=0.5, score=Learned())
    found = placed(Supervised(model, "ce"))
    own = [name for name in found if "weigh." in name]
    assert len(own) == 2
    assert all(found[name]["scale"] == 1.0 for name in own)


def test_biases_norms_tokens_and_positions_do_not_decay(ast, encoder):
    for objective in (ast, encoder):
        for name, facts in placed(objective).items():
            last = name.split(".")[-1]
            still = (
                "norm" in name
                or "bias" in last
                or last in ("prefix_tokens", "positions", "mask_token")
            )
            assert facts["weight_decay"] == (0.0 if still else 1e-4), name
    assert placed(ast)["patch.weight"]["weight_decay"] == 1e-4
    assert "mask_token" in placed(encoder)


def test_all_decay_where_the_recipe_says_so(ast, encoder):
    optim = OptimPart(lr=1, weight_decay=5e-7, decay_all=True)
    for objective in (ast, encoder):
        assert {facts["weight_decay"] for facts in placed(objective, optim).values()} == {5e-7}


class Planted(nn.Module):
    """One weight that decays and one bias that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0]]))
        self.bias = nn.Parameter(torch.tensor([2.0]))


def one_step(optim: OptimPart, gradient: float, lr: float = 0.1) -> tuple[float, float]:
    module = Planted()
    stepper = optimiser(parameter_groups(module, 12, optim), optim)
    set_lr(stepper, lr)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    stepper.step()
    return module.weight.item(), module.bias.item()


def test_adamw_shrinks_the_weight_itself():
    """The first step is the rate in the gradient's direction, whatever its size."""
    optim = OptimPart(name="adamw", lr=0.1, weight_decay=0.5, betas=[0.9, 0.95])
    weight, bias = one_step(optim, gradient=-0.1)
    assert weight == pytest.approx(2 * (1 - 0.1 * 0.5) + 0.1, abs=1e-6)
    assert bias == pytest.approx(2 + 0.1, abs=1e-6)


def test_adams_decay_is_a_term_of_the_gradient():
    """-0.1 + 0.5 * 2 is positive: the decay turns the direction around, and no more."""
    optim = OptimPart(name="adam", lr=0.1, weight_decay=0.5, betas=[0.95, 0.999])
    weight, bias = one_step(optim, gradient=-0.1)
    assert weight == pytest.approx(2 - 0.1, abs=1e-6)
    assert bias == pytest.approx(2 + 0.1, abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_three_steps_are_those_of_the_textbook(name):
    optim = OptimPart(name=name, lr=1, weight_decay=0.01, betas=[0.8, 0.9])
    module = Planted()
    stepper = optimiser(parameter_groups(module, 12, optim), optim)
    w, m, v = 2.0, 0.0, 0.0
    for t, (gradient, lr) in enumerate([(0.5, 0.1), (-1.0, 0.2), (0.25, 0.05)], 1):
        set_lr(stepper, lr)
        module.weight.grad = torch.tensor([[gradient]])
        stepper.step()
        g = gradient + (0.01 * w if name == "adam" else 0)
        w -= lr * 0.01 * w if name == "adamw" else 0
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        w -= lr * (m / (1 - 0.8**t)) / ((v / (1 - 0.9**t)) ** 0.5 + 1e-8)
        assert module.weight.item() == pytest.approx(w, abs=1e-6)


def test_a_step_moves_each_layer_by_its_own_rate(make):
    model = copy.deepcopy(make("ast", frames=64))
    objective = Supervised(model, "ce")
    optim = OptimPart(name="adamw", lr=1, layer_decay=0.75)
    stepper = optimiser(parameter_groups(objective, 12, optim), optim)
    set_lr(stepper, 1e-2)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    stepper.step()
    for name, power in (("patch.weight", 13), ("blocks.3.fc1.weight", 9), ("head.weight", 0)):
        moved = before[name] - dict(model.named_parameters())[name].detach()
        assert moved.mean().item() == pytest.approx(1e-2 * 0.75**power, rel=1e-3)
