"""What the loop gives each step, when it evaluates, and which epoch it takes for the best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spectrim.common.errors import SpectrimError
from spectrim.training.evaluate import Evaluation
from spectrim.training.jobs import Supervision
from spectrim.training.loop import fit, seed_step
from spectrim.training.objectives import Supervised
from spectrim.training.optim import optimiser
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent
from spectrim.training.run import train
from tones import write_recipe, write_tones


def test_each_step_has_its_keep_rate_learning_rate_and_random_numbers(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """Two epochs of three steps: half an epoch of warm-up; pruning falls from 1/2 to 3/2."""
    keep_rates, seeds, lrs = [], [], []

    def forward(self: Supervised, keep_rate: float, **others: object) -> torch.Tensor:
        keep_rates.append(keep_rate)
        seeds.append(torch.initial_seed())
        return self.model.head.bias.sum()

    def watched(*given: Any) -> torch.optim.Optimizer:
        made = optimiser(*given)
        made.register_step_pre_hook(
            lambda optim, *_: lrs.append([group["lr"] for group in optim.param_groups])
        )
        return made

    monkeypatch.setattr(Supervised, "forward", forward)
    monkeypatch.setitem(fit.__globals__, "optimiser", watched)
    read = read_recipe(recipe, ["optim.layer_decay=0.5", "select.every=2"], Recipe)
    train(read, tmp_path / "run", Silent())
    pruned = [0, 0, 1 / 6, 1 / 2, 5 / 6, 1]
    by_hand = [0.6 + 0.4 * (1 + math.cos(math.pi * share)) / 2 for share in pruned]
    assert keep_rates == pytest.approx(by_hand)
    fallen = [1 / 9, 3 / 9, 5 / 9, 7 / 9]
    by_hand = [0, 2 / 3, *((1 + math.cos(math.pi * share)) / 2 for share in fallen)]
    assert [step[-1] for step in lrs] == pytest.approx([1e-3 * share for share in by_hand])
    assert [step[0] for step in lrs] == pytest.approx([step[-1] / 2**13 for step in lrs])
    assert len(set(seeds)) == 6


def test_states_and_last_models_are_saved_after_so_many_epochs(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """Five epochs of three steps, of which every second is saved, and the last."""
    saved, out = [], tmp_path / "run"

    class Watching(Silent):
        def step(self, facts: dict[str, float]) -> None:
            states = [int(path.name.split("-")[1]) for path in (out / "state").glob("step-*")]
            lines = out / "epochs.jsonl"
            rows = lines.read_text().count("\n") if lines.exists() else 0
            saved.append((max(states, default=0), rows, (out / "last").is_dir()))

    monkeypatch.setattr(Supervised, "forward", lambda self, **_: self.model.head.bias.sum())
    words = ["epochs=5", "run.save_epochs=2", "select.every=9"]
    train(read_recipe(recipe, words, Recipe), out, Watching())
    by_hand = [(0, 0, False)] * 6 + [(6, 2, True)] * 6 + [(12, 4, True)] * 3
    assert saved == by_hand
    assert len((out / "epochs.jsonl").read_text().splitlines()) == 5
    assert (out / "state" / "step-000000015").is_dir()


class Collecting(Silent):
    """Collects what each step reports."""

    def __init__(self) -> None:
        self.facts: list[dict[str, float]] = []

    def step(self, facts: dict[str, float]) -> None:
        self.facts.append({key: facts[key] for key in facts if key != "clips_per_s"})


def test_losses_read_after_several_steps_are_those_of_each_step(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """As on a GPU, where reading makes the host wait: the same run, and the same reports."""
    reports = []
    for number, steps in enumerate((1, 2, 16)):
        monkeypatch.setitem(fit.__globals__, "steps_per_reading", lambda device, n=steps: n)
        watching, out = Collecting(), tmp_path / str(number)
        train(read_recipe(recipe, ["select.every=9"], Recipe), out, watching)
        weights = (out / "last" / "model.safetensors").read_bytes()
        reports.append((watching.facts, weights))
    assert reports[0] == reports[1] == reports[2] and len(reports[0][0]) == 6


def test_a_loss_that_is_not_finite_is_named_by_its_step_and_reaches_no_state(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """The second step of three fails; the losses are read at the end of the epoch."""
    calls = []

    def forward(self: Supervised, **_: object) -> torch.Tensor:
        calls.append(1)
        return self.model.head.bias.sum() * (math.nan if len(calls) == 5 else 1.0)

    monkeypatch.setattr(Supervised, "forward", forward)
    monkeypatch.setitem(fit.__globals__, "steps_per_reading", lambda device: 16)
    with pytest.raises(SpectrimError, match=r"loss is nan at step 4 .*step-000000003, is intact"):
        train(read_recipe(recipe, ["select.every=9"], Recipe), tmp_path / "run", Silent())
    weights = load_file(tmp_path / "run/state/step-000000003/weights.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_a_gradient_that_is_not_finite_stops_the_run(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """A square root at 0 is 0, and infinitely steep."""
    monkeypatch.setattr(Supervised, "forward", lambda self, **_: self.model.head.bias.sum().sqrt())
    with pytest.raises(SpectrimError, match="the gradient's norm is inf at step 0"):
        train(read_recipe(recipe, [], Recipe), tmp_path / "run", Silent())


def test_every_seed_step_and_process_draws_random_numbers_of_its_own() -> None:
    def drawn(seed: int, step: int, rank: int) -> tuple[float, ...]:
        seed_step(seed, step, rank)
        return tuple(torch.rand(4).tolist())

    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    draws = [drawn(*place) for place in places]
    assert len(set(draws)) == 4 and drawn(*places[0]) == draws[0]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and summary of a run with planted results: every second of five epochs, from 2 on."""
    planted = [(0.1, 0.1), (0.9, 0.9), (1.0, 1.0), (0.2, 0.8), (0.5, 0.7)]  # valid, test
    folder, rows = tmp_path_factory.mktemp("judged"), []

    class Watching(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            rows.append(row)

    def evaluate(self: Supervision, *given: object) -> dict[str, Evaluation]:
        at, values = np.arange(3), planted[len(rows)]
        splits = zip(("valid", "test"), values, strict=True)
        return {name: Evaluation(at, np.zeros((3, 3)), value) for name, value in splits}

    path = write_recipe(folder, write_tones(folder, train=1, valid=1, test=1))
    words = ["epochs=5", "select.every=2", "select.from_epoch=2", "select.split=test"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Supervised, "forward", lambda self, **_: self.model.head.bias.sum())
        patch.setattr(Supervision, "evaluate", evaluate)
        summary = train(read_recipe(path, words, Recipe), folder / "run", Watching())
    assert summary is not None
    return rows, summary


def test_evaluation_comes_after_every_so_many_epochs_and_the_last(judged) -> None:
    assert [row["epoch"] for row in judged[0] if "test" in row] == [1, 3, 4]


def test_the_best_epoch_is_chosen_by_the_split_asked_for_among_the_eligible(judged) -> None:
    best = judged[1]["best"]
    assert (best["epoch"], best["selected_by"], best["test"]) == (3, "test", 0.8)


def test_the_best_on_test_is_eligible_too(judged) -> None:
    assert judged[1]["best_on_test"]["epoch"] == 3
