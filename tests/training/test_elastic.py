"""Elastic training: its draws, its loss against a slow one, what it saves, and bad recipes."""

from __future__ import annotations

import copy
import itertools
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import spectrim
from extensions import merge
from parameters import each_value
from spectrim.data.manifest import read_data
from spectrim.pruning.cost import Shape, macs
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.trained_range import TrainedRange
from spectrim.training.dry_run import dry_run
from spectrim.training.elastic import ElasticSupervision, draw_plans, plans_by_score
from spectrim.training.evaluate import Evaluation
from spectrim.training.loop import Interrupted
from spectrim.training.make_job import make_job
from spectrim.training.objectives import Elastic
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe, SchedulePart
from spectrim.training.reporting import Silent
from spectrim.training.run import train
from tones import RECIPE, write_recipe, write_tones

ELASTIC = RECIPE.replace("keep_rate: 0.6", "keep_rate: 1.0").replace(
    "schedule: {start: 0.5, length: 1}", "schedule: {kind: elastic, low: 0.4, plans: 2}"
)
SCHEDULE = SchedulePart(kind="elastic", low=0.4, plans=2)


@pytest.fixture
def recipe(tones: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tones, ELASTIC)


def rates_of(plan: Plan) -> list[float]:
    return [stage.keep_rate for stage in plan.stages if stage.keep_rate is not None]


# ---- draws


def drawn(step: int, seed: int = 0, schedule: SchedulePart = SCHEDULE, low: float = 0.4, **plan):
    plans = plans_by_score(paper_plan(1.0, **plan), schedule.scores or ["attention"])
    return draw_plans(plans, schedule, low, seed, step)


def test_a_step_has_the_lowest_keep_rate_and_random_ones_of_every_stage() -> None:
    steps = [drawn(step) for step in range(400)]
    assert all(rates_of(plans[0]) == [0.4] * 3 for plans in steps)
    random = np.array([[rates_of(plan) for plan in plans[1:]] for plans in steps])
    assert random.shape == (400, 2, 3)
    assert random.min() >= 0.4 and random.max() <= 1.0
    # Uniform: mean 0.7, standard deviation 0.6 / sqrt(12); here within four standard errors.
    columns = random.reshape(400, 6)
    assert columns.mean(0) == pytest.approx(np.full(6, 0.7), abs=4 * 0.1732 / 20)
    assert columns.std(0) == pytest.approx(np.full(6, 0.6 / 12**0.5), abs=0.02)
    # Independent between stages and between the two plans: off the diagonal within 4 / sqrt(400).
    correlations = np.corrcoef(columns.T) - np.eye(6)
    assert np.abs(correlations).max() < 0.2


def test_draws_depend_on_seed_and_step_only() -> None:
    assert drawn(7) == drawn(7)
    different = [drawn(7), drawn(8), drawn(7, seed=1)]
    assert len({str(plans) for plans in different}) == 3


def test_a_plan_keeps_blocks_reduction_and_seed() -> None:
    for plan in drawn(3, reduction=merge, blocks=(2, 5), seed=0):
        assert [stage.at for stage in plan.stages] == [2, 5]
        assert all(stage.reduction is merge for stage in plan.stages)
    plans = plans_by_score(paper_plan(1.0, seed=5), ["attention", "random"])
    assert all(plan.seed == 5 for plan in draw_plans(plans, SCHEDULE, 0.4, 0, 0))


def test_every_score_of_the_list_ranks_about_as_many_passes() -> None:
    scores = ["attention", "intensity", "variation"]
    schedule = replace(SCHEDULE, scores=scores)
    names = [plan.stages[0].score for step in range(300) for plan in drawn(step, 0, schedule)]
    assert all(len({stage.score for stage in plan.stages}) == 1 for plan in drawn(0, 0, schedule))
    assert [names.count(score) / 900 for score in scores] == pytest.approx([1 / 3] * 3, abs=0.06)
    lowest = {drawn(step, 0, schedule)[0].stages[0].score for step in range(30)}
    assert lowest == set(scores)


def test_high_limits_random_plans_and_no_plan_prunes_before_the_start() -> None:
    schedule = replace(SCHEDULE, high=0.6, plans=1)
    rates = [rate for step in range(50) for rate in rates_of(drawn(step, 0, schedule)[1])]
    assert min(rates) >= 0.4 and max(rates) <= 0.6
    assert drawn(3, low=1.0) == ()
    # While the lowest keep rate still falls, it may lie above `high`.
    assert rates_of(drawn(3, 0, schedule, low=0.8)[1]) == [0.8] * 3
    assert len(drawn(3, 0, replace(SCHEDULE, plans=0))) == 1


# ---- loss


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    targets = torch.zeros(3, 5)
    targets[[0, 1, 2], [0, 3, 4]], targets[[0, 1, 2], [2, 0, 1]] = 0.7, 0.3
    return {
        "features": seeded(3, 64, 128), "valid": torch.tensor([64, 20, 40]), "targets": targets,
        "weights": torch.tensor([0.5, 0.1, 0.2]),
    }  # fmt: skip


@pytest.fixture
def model(make):
    return copy.deepcopy(make("ast", frames=64))


def by_hand(model, batch, kind, plans, distil, label_weight, smoothing=0.0) -> torch.Tensor:
    """The loss clip by clip and pass by pass, by models of their own and PyTorch's losses."""

    def with_labels(logits, target):
        if kind == "bce":
            return nn.BCEWithLogitsLoss()(logits, target)
        return nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, target)

    total = torch.zeros(())
    for clip, (target, weight) in enumerate(zip(batch["targets"], batch["weights"], strict=True)):
        one = batch["features"][clip : clip + 1], batch["valid"][clip : clip + 1]
        full = model.with_plan(Plan())(*one)[0]
        total = total + weight * with_labels(full, target)
        fixed = full.detach()
        for plan in plans:
            logits = spectrim.prune(model, plan=plan)(*one)[0]
            if kind == "bce":
                goal = fixed.sigmoid()
                difference = nn.BCEWithLogitsLoss()(logits, goal)
            else:
                goal = fixed.softmax(0)
                difference = (goal * (goal.log() - logits.softmax(0).log())).sum()
            total = total + weight * distil * difference
            total = total + weight * label_weight * with_labels(logits, target)
    return total


PLANS = (
    paper_plan(0.4, "intensity"), paper_plan((0.9, 0.5, 0.7)), paper_plan(0.6, reduction=merge)
)  # fmt: skip


LOSSES = (  # kind, distil, label weight, smoothing
    ("ce", 1.0, 0.0, 0.0), ("ce", 0.5, 0.3, 0.1), ("bce", 1.0, 0.0, 0.0), ("bce", 0.0, 2.0, 0.0)
)  # fmt: skip


@each_value(loss_of=LOSSES, family=["ast", "audiomae"])
def test_loss_and_gradient_are_those_of_a_slow_sum(make, batch, family, loss_of) -> None:
    """The gradient too: without the stop the unpruned pass would get one from the pruned ones."""
    kind, distil, label_weight, smoothing = loss_of
    model = copy.deepcopy(make(family, frames=64)).train()
    objective = Elastic(model, kind, smoothing, distil=distil, label_weight=label_weight)
    loss = objective(**batch, plans=PLANS)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    slow = by_hand(model, batch, kind, PLANS, distil, label_weight, smoothing)
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-4)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = parameter.grad.abs().max().item()
            difference = (parameter.grad - gradients[name]).abs().max().item()
            assert difference <= 1e-3 * scale + 1e-7, name


def test_without_pruned_passes_the_loss_is_that_of_plain_training(model, batch) -> None:
    from spectrim.training.objectives import Supervised

    plain = Supervised(model, "ce", 0.1)(**batch, keep_rate=1.0)
    assert torch.equal(Elastic(model, "ce", 0.1)(**batch), plain)


def test_a_teacher_teaches_the_unpruned_pass_only(model, batch) -> None:
    teacher, plan = seeded(3, 5, seed=2), paper_plan(0.4)
    objective = Elastic(model, "ce", share=0.3, temperature=2.0)
    with_plan = objective(**batch, teacher=teacher, plans=(plan,))
    without = objective(**batch, teacher=teacher)
    alone = Elastic(model, "ce")
    difference = alone(**batch, plans=(plan,)) - alone(**batch)
    assert (with_plan - without).item() == pytest.approx(difference.item(), rel=1e-3)


def test_token_masking_reaches_every_pass(model, batch) -> None:
    keep = torch.zeros(3, 32, dtype=torch.bool)
    keep[:, ::2] = True
    plan = paper_plan(0.5, "intensity")
    loss = Elastic(model, "ce")(**batch, keep=keep, plans=(plan,))
    one = batch["features"], batch["valid"]
    full = model.with_plan(Plan())(*one, keep=keep)
    pruned = model.with_plan(plan)(*one, keep=keep)
    labels = nn.functional.cross_entropy(full, batch["targets"], reduction="none")
    goal = full.softmax(1)
    difference = (goal * (goal.log() - pruned.log_softmax(1))).sum(1)
    assert loss.item() == pytest.approx((batch["weights"] * (labels + difference)).sum().item())


class Marked(nn.Module):
    """A score that adds its one parameter to the loss each time it ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = nn.Parameter(torch.tensor(0.25))

    def forward(self, context):
        context.losses.append(self.mark * 1.0)
        return context.patches().mean(-1)


def test_auxiliary_losses_of_every_pass_count(make, batch) -> None:
    marked = spectrim.prune(copy.deepcopy(make("ast", frames=64)), 1.0, Marked())
    plain = spectrim.prune(make("ast", frames=64), 1.0, "intensity-padded")
    rates = (0.4, (0.6, 1.0, 0.8))  # three stages rank, then two
    with_it, without = (
        Elastic(model, "ce")(
            **batch, plans=tuple(model.plan.with_keep_rate(rate) for rate in rates)
        )
        for model in (marked, plain)
    )
    assert (with_it - without).item() == pytest.approx(0.25 * 5 * 0.8, abs=1e-4)


@each_value(reduction=sorted(REDUCTIONS), family=["ast", "audiomae"])
def test_every_reduction_trains(make, batch, family, reduction) -> None:
    """Against the sum of the passes alone: plans of a reduction share the model's parameters."""
    model = spectrim.prune(
        copy.deepcopy(make(family, frames=64)), 1.0, reduction=reduction
    ).train()  # fmt: skip
    plans = draw_plans(plans_by_score(model.plan, ["attention"]), SCHEDULE, 0.4, 0, 0)
    objective = Elastic(model, "ce")
    loss = objective(**batch, plans=plans)
    full = objective(**batch)
    alone = sum((objective(**batch, plans=(plan,)) - full for plan in plans), full)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-3)
    assert loss.item() > full.item()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name
    assert all(stage.reduction == reduction for plan in plans for stage in plan.stages)


def test_no_pass_waits_for_values_on_the_device(make) -> None:
    """Tensors on "meta" have no values: reading one, as `.item()` does, is an error."""
    plans = tuple(paper_plan((0.4, 0.77, 0.9), score) for score in ("attention", "variation"))
    for family in ("ast", "audiomae"):
        objective = Elastic(copy.deepcopy(make(family, frames=64)).to("meta"), "ce")
        tensors = {
            "features": torch.empty(3, 64, 128), "valid": torch.empty(3, dtype=torch.long),
            "targets": torch.empty(3, 5), "weights": torch.empty(3),
        }  # fmt: skip
        loss = objective(**{key: value.to("meta") for key, value in tensors.items()}, plans=plans)
        loss.backward()
        with pytest.raises((RuntimeError, NotImplementedError)):
            loss.item()


@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_in_bf16_the_loss_is_float32_and_close(model, batch, kind) -> None:
    objective = Elastic(model.train(), kind)
    exact = objective(**batch, plans=PLANS[1:2]).item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(**batch, plans=PLANS[1:2])
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact, rel=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_training_brings_the_pruned_model_to_the_unpruned_one(model, batch) -> None:
    """The distance of the pruned logits from the unpruned ones falls by more than half."""
    plan, model = paper_plan(0.4, "intensity"), model.train()
    one = batch["features"], batch["valid"]
    low = model.with_plan(plan)

    def distance() -> float:
        with torch.no_grad():
            goal, logits = model.with_plan(Plan())(*one).softmax(1), low(*one)
            return float((goal * (goal.log() - logits.log_softmax(1))).sum(1).mean())

    before, optim = distance(), torch.optim.AdamW(model.parameters(), 3e-4)
    objective = Elastic(model, "ce")
    for _ in range(12):
        optim.zero_grad()
        objective(**batch, plans=(plan,)).backward()
        optim.step()
    assert before > 1e-4 and distance() < before / 2


# ---- runs


class Stops(Silent):
    """Interrupts the run after its second step."""

    def step(self, facts: dict[str, float]) -> None:
        if facts["step"] == 2:
            signal.raise_signal(signal.SIGINT)


def read(recipe: Path, *changes: str) -> Recipe:
    return read_recipe(recipe, list(changes), Recipe)


def rows(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "clips_per_s")} for row in lines]


@pytest.fixture(scope="module")
def whole(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of two epochs with three steps each."""
    folder = tmp_path_factory.mktemp("whole")
    train(read(write_recipe(folder, tones, ELASTIC)), folder / "run", Silent())
    return folder / "run"


def test_an_interrupted_run_resumes_to_the_same_bits(recipe: Path, tmp_path: Path, whole) -> None:
    """It is stopped after the third step of six; had it drawn other plans, the weights differ."""
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(read(recipe, "run.save_every=0"), out, Stops())
    train(read(recipe, "run.save_every=0"), out, Silent())
    assert rows(out) == rows(whole)
    a, b = (load_file(path / "last" / "model.safetensors") for path in (out, whole))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_parts_of_a_batch_have_the_same_plans(recipe: Path, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    train(read(recipe, "run.micro_batch=3"), out, Silent())
    a, b = (load_file(path / "last" / "model.safetensors") for path in (out, whole))
    assert all(torch.allclose(a[name], b[name], atol=2e-4) for name in a)
    assert rows(out)[-1]["loss"] == pytest.approx(rows(whole)[-1]["loss"], rel=1e-3)


def test_the_saved_model_is_unpruned_and_records_its_range(whole: Path) -> None:
    for name in ("last", "best"):
        model = spectrim.load(whole / name)
        assert model.config.trained_range == TrainedRange(
            0.4, (3, 6, 9), ("attention",), "keep-top"
        )
        assert all(stage.keep_rate == 1.0 for stage in model.plan.stages)


def test_the_keep_rate_of_the_saved_model_is_an_argument(whole: Path) -> None:
    model = spectrim.load(whole / "last")
    features, valid = seeded(2, 64, 128), torch.tensor([64, 40])
    for rate in (1.0, 0.7, [0.4, 1.0, 0.5]):
        logits = model(features, valid, keep_rate=rate)
        assert torch.equal(logits, spectrim.prune(model, rate)(features, valid))


def test_the_summary_has_a_line_for_each_end(whole: Path, run_spectrim) -> None:
    done = run_spectrim("train", whole.parent / "recipe.yaml", "--out", whole)
    row = rows(whole)[-1]
    lines = [line.split() for line in done.stdout.splitlines()]
    at = next(index for index, words in enumerate(lines) if words[:2] == ["last", "epoch"])
    texts = {key: f"{row[key]:.1%}" for key in ("valid", "test", "valid_low", "test_low")}
    assert lines[at][2:] == ["1", texts["valid"], texts["test"], "1.00"]
    assert lines[at + 1] == [texts["valid_low"], texts["test_low"], "0.40"]


def test_both_ends_of_the_range_are_evaluated(whole: Path, tones: Path) -> None:
    """Against the saved model, pruned and run on the clips one by one."""
    model, row = spectrim.load(whole / "last"), rows(whole)[-1]
    for rate, suffix in ((1.0, ""), (0.4, "_low")):
        pruned = spectrim.prune(model, rate)
        for split in ("valid", "test"):
            clips = [clip for clip in read_data(tones).clips if clip.split == split]
            right = sum(
                model.labels[int(pruned(*pruned.features([clip.path])).argmax())] == clip.labels[0]
                for clip in clips
            )
            assert row[split + suffix] == pytest.approx(right / len(clips), abs=1e-5)
    assert row["keep_rate"] == 0.4
    logits = np.load(whole / "last" / "predictions.npz")
    assert "test_low_logits" not in logits
    accuracy = (logits["test_logits"].argmax(1) == logits["test_truth"].argmax(1)).mean()
    assert accuracy == pytest.approx(row["test"], abs=1e-5)


def test_the_best_epoch_has_the_highest_mean(tmp_path: Path) -> None:
    planted = iter([(0.9, 0.5), (0.8, 0.7), (0.7, 0.7)])  # unpruned, lowest

    def evaluate(self: ElasticSupervision, *_: object) -> dict[str, Evaluation]:
        pair = zip(("test", "test_low"), next(planted), strict=True)
        return {name: Evaluation(np.arange(1), np.zeros((1, 3)), value) for name, value in pair}

    recipe = write_recipe(tmp_path, write_tones(tmp_path, 1, 1, 1), ELASTIC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Elastic, "forward", lambda self, **_: self.model.head.bias.sum())
        patch.setattr(ElasticSupervision, "evaluate", evaluate)
        summary = train(read(recipe, "epochs=3"), tmp_path / "run", Silent())
    assert summary is not None
    assert (summary["best"]["epoch"], summary["best"]["test_low"]) == (1, 0.7)
    assert summary["best_on_test"]["epoch"] == 1


def test_the_lowest_keep_rate_falls_along_the_schedule(recipe: Path, tmp_path: Path) -> None:
    """Unpruned for half an epoch; then it falls for one. Steps are at thirds of an epoch."""
    job = make_job(read(recipe, "schedule.start=0.5", "schedule.length=1"), tmp_path)
    assert isinstance(job, ElasticSupervision)
    assert job.drawn(0.0) == job.drawn(1 / 3) == ()
    plans = job.drawn(1.0)  # half of the way: a cosine has fallen by half
    assert rates_of(plans[0]) == pytest.approx([0.7] * 3)
    assert all(0.7 <= rate <= 1.0 for plan in plans[1:] for rate in rates_of(plan))
    assert rates_of(job.drawn(5 / 3)[0]) == [0.4] * 3
    assert job.model.config.trained_range.low == 0.4


def test_the_range_of_merging_has_no_score(recipe: Path, tmp_path: Path) -> None:
    trained_range = make_job(read(recipe, "reduction=tome"), tmp_path).model.config.trained_range
    assert trained_range == TrainedRange(0.4, (3, 6, 9), (), "tome")


def test_a_range_that_is_not_reached_is_not_recorded_and_no_range_is_refused(
    recipe: Path, tmp_path: Path
) -> None:
    job = make_job(read(recipe, "schedule.start=1", "schedule.length=2"), tmp_path)
    # The last step is a third of the way: 1 + cos(60 degrees) over 2 is 3 / 4 of the fall to come.
    assert job.model.config.trained_range.low == pytest.approx(0.4 + 0.6 * 3 / 4)
    assert any("reaches 0.4 after 3 epochs" in note for note in job.notes)
    with pytest.raises(spectrim.SpectrimError, match=r"prune nothing: schedule\.start is 2"):
        make_job(read(recipe, "schedule.start=2"), tmp_path)


@pytest.mark.parametrize(("masks_end", "masked"), [("pruned", False), ("never", True)])
def test_masks_end_with_the_first_pruned_pass_unless_told(
    recipe: Path, tmp_path: Path, masks_end: str, masked: bool
) -> None:
    job = make_job(read(recipe, f"schedule.masks_end={masks_end}"), tmp_path)
    batch = next(iter(job.loader.epoch(0)))
    assert (job.inputs(batch, 0.0)["keep"] is not None) == masked


def test_a_model_trained_otherwise_afterwards_loses_the_range(recipe, tmp_path, whole) -> None:
    changes = ["schedule.kind=cosine", "schedule.low=0.4", "schedule.plans=1"]
    job = make_job(read(recipe, *changes, f"init={whole / 'last'}"), tmp_path)
    assert type(job.objective).__name__ == "Supervised"
    assert job.model.config.trained_range is None


def test_the_dry_run_states_the_cost_of_a_step(recipe: Path) -> None:
    plan = dry_run(read(recipe, "schedule.plans=1"))
    (note,) = [note for note in plan.notes if "MACs of an unpruned step" in note]
    shape = Shape(patches=32, num_prefix_tokens=2, width=128, depth=12, classes=3)
    unpruned = macs(shape, Plan())
    low = macs(shape, paper_plan(0.4)) / unpruned
    # The mean over a grid of keep rates, against the mean over the draws.
    grid = itertools.product(np.linspace(0.4, 1.0, 8).tolist(), repeat=3)
    random = np.mean([macs(shape, paper_plan(rates)) for rates in grid]) / unpruned
    numbers = [float(word.strip(",")) for word in note.split() if word[0].isdigit()]
    total, one, lowest, rate, middle, plans = numbers
    assert (one, rate, plans) == (1, 0.4, 1)
    assert lowest == pytest.approx(low, abs=0.006)
    assert middle == pytest.approx(random, abs=0.03)
    assert total == pytest.approx(1 + low + random, abs=0.08)
    for row in plan.epochs:
        assert unpruned * (1 + 2 * low) < row["gmacs"] * 1e9 < unpruned * (2 + low)


# ---- bad recipes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["schedule.low=0"], "schedule.low is 0.0; expected more than 0 and at most 1"),
        (["schedule.low=1.2"], "schedule.low is 1.2; expected more than 0 and at most 1"),
        (["schedule.low=nan"], "schedule.low is nan"),
        (["schedule.low=1.0"], "prunes nothing"),
        (["schedule.high=1.5"], "schedule.high is 1.5"),
        (["schedule.low=0.6", "schedule.high=0.5"], "schedule.low 0.6 is above schedule.high 0.5"),
        (["keep_rate=0.7"], "Set keep_rate=1.0"),
        (["schedule.plans=-1"], "schedule.plans is -1; expected at least 0"),
        (["schedule.distil=0"], "schedule.distil and schedule.label_weight are both 0"),
        (["schedule.distil=-1"], "schedule.distil is -1.0"),
        (["schedule.scores=[intensity]"], "score is 'attention', which is not in schedule.scores"),
        (["schedule.kind=elastik"], "Did you mean 'elastic'"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(recipe: Path, changes, text) -> None:
    with pytest.raises(spectrim.SpectrimError) as error:
        read(recipe, *changes)
    assert text in str(error.value)


def test_keys_without_effect_are_noted(recipe: Path) -> None:
    """Not refused: the control of an elastic recipe changes its kind only."""
    with pytest.warns(spectrim.SpectrimNotice, match=r"schedule\.plans has no effect without"):
        assert read(recipe, "schedule.kind=cosine").lowest_keep_rate == 1.0


def test_an_unknown_score_is_named(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(spectrim.SpectrimError, match="Did you mean 'intensity'"):
        make_job(read(recipe, "schedule.scores=[attention,intensty]"), tmp_path)


def test_learned_scores_go_without_a_list_of_scores(recipe: Path, tmp_path: Path) -> None:
    learned = "extensions:Learned"
    job = make_job(read(recipe, f"score={learned}"), tmp_path)
    assert isinstance(job, ElasticSupervision)
    plans = job.drawn(0.0)
    assert len(plans) == 3
    # The drawn plans rank with the parameters that are trained and saved.
    parameters = {id(p) for p in job.objective.parameters()}
    assert all(
        id(p) in parameters for plan in plans for m in plan.modules() for p in m.parameters()
    )
    with pytest.raises(spectrim.SpectrimError, match=r"without schedule\.scores"):
        make_job(read(recipe, f"schedule.scores=[attention,'{learned}']"), tmp_path)


def test_a_teacher_of_other_classes_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(spectrim.SpectrimError, match=r"teacher\.model ast-digits.*only one"):
        make_job(read(recipe, "teacher.model=ast-digits"), tmp_path)
