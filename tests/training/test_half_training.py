"""Training in bfloat16 and float16: finite losses close to float32, and scores in float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from parameters import each_value
from spectrim.pruning.context import Context
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens
from spectrim.training.make_job import make_job
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent
from spectrim.training.run import train


def test_a_run_in_bf16_has_the_losses_of_float32(recipe: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("no", "bf16"):
        out = tmp_path / precision
        changes = [f"run.precision={precision}", "select.every=9"]
        train(read_recipe(recipe, changes, Recipe), out, Silent())
        lines = (out / "epochs.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        assert json.loads((out / "summary.json").read_text())["precision"] == precision
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


@each_value(score=["attention", "intensity", "variation"], dtype=[torch.bfloat16, torch.float16])
def test_losses_and_gradients_are_finite_and_scores_float32(
    recipe: Path, tmp_path: Path, dtype: torch.dtype, score: str
) -> None:
    changes = ["keep_rate=0.5", f"score={score}", "schedule.start=0"]
    job = make_job(read_recipe(recipe, changes, Recipe), tmp_path / "cache")
    scores: list[torch.Tensor] = []

    def watch(tokens: Tokens, context: Context, stage: Stage | None, left: Tokens) -> None:
        if stage is not None:
            assert stage.rank is not None
            scores.append(stage.rank(context))

    losses = []
    for kind in (torch.float32, dtype):
        job.objective.zero_grad()
        inputs = job.inputs(next(iter(job.loader.epoch(0))), 1e9)
        with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
            loss = job.objective(**inputs)
        loss.backward()
        losses.append(loss.item())
        assert loss.dtype == torch.float32 and inputs["features"].dtype == torch.float32
        gradients = [p.grad for p in job.objective.parameters() if p.grad is not None]
        assert len(gradients) > 100 and all(grad.isfinite().all() for grad in gradients)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    with torch.autocast("cpu", dtype=dtype):
        job.model.encode(inputs["features"], inputs["valid"], watch=watch)
    assert len(scores) == 3 and all(values.dtype == torch.float32 for values in scores)
