"""Each job of the committed queue is a valid recipe with valid changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import PretrainRecipe, Recipe

ROOT = Path(__file__).resolve().parents[2]
QUEUE = yaml.safe_load((ROOT / "benchmarks" / "gpu" / "queue.yaml").read_text(encoding="utf-8"))
JOBS = {job["name"]: job for job in QUEUE["jobs"]}
TASKS = ("speakers", "librispeech", "mixtures")  # of results/table1, without a built-in model
MODELS = yaml.safe_load((ROOT / "tools" / "builtin_models.yaml").read_text(encoding="utf-8"))


def recipe_of(job):
    kind = "train" if "train" in job else "pretrain"
    of_recipe = QUEUE["recipe_changes"].get(job[kind], ())
    changes = (*of_recipe, *QUEUE["changes"], *job["changes"])
    changes = [re.sub(r"\{[\w-]+\}", "x", text) for text in changes]
    return read_recipe(ROOT / job[kind], changes, Recipe if kind == "train" else PretrainRecipe)


def test_names_differ_and_needed_jobs_come_first():
    names = [job["name"] for job in QUEUE["jobs"]]
    assert len(set(names)) == len(names)
    for job in QUEUE["jobs"]:
        assert set(job.get("needs", ())) <= set(names[: names.index(job["name"])])


@pytest.mark.parametrize("name", [n for n, job in JOBS.items() if "command" not in job])
def test_a_job_is_a_valid_recipe(name):
    recipe = recipe_of(JOBS[name])
    if name.endswith("-elastic"):
        assert recipe.schedule.kind == "elastic"
        family, task, _ = name.split("-")
        assert f"{family}-{task}" in MODELS["models"] or task in TASKS
    if rate := re.search(r"-(unpruned|0\.\d)$", name):
        # A control differs from elastic training in its pruning only.
        elastic = recipe_of(JOBS[name.replace(rate[0], "-elastic")])
        assert recipe.schedule.kind == "cosine" and recipe.init == elastic.init
        assert recipe.keep_rate == (1.0 if rate[1] == "unpruned" else float(rate[1]))
        assert (recipe.epochs, recipe.optim, recipe.augment, recipe.model, recipe.data) == (
            elastic.epochs, elastic.optim, elastic.augment, elastic.model, elastic.data,
        )  # fmt: skip


def test_every_built_in_model_is_in_the_queue():
    assert {f"{name}-elastic" for name in MODELS["models"]} <= set(JOBS)


def test_every_task_of_the_table_is_in_the_queue():
    grid = yaml.safe_load((ROOT / "grids" / "table1-tiny.yaml").read_text(encoding="utf-8"))
    for column in grid["columns"]:
        assert {f"{column}-elastic", f"{column}-unpruned", f"{column}-0.5"} <= set(JOBS)
