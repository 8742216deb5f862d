"""Run the cells of a grid one by one; each finished cell is saved as a JSON file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..common.files import make_folder, save_arrays, save_json
from ..common.locks import claim, holder
from ..common.parse import read_json
from ..data.clip import clip_names
from ..evaluation.predict import predict
from ..evaluation.variants import variants_of
from ..metrics.classification import indicator, metric, paired_difference
from ..models.build import macs
from ..models.loading.load import load
from ..models.provenance import RESULT_VERSION, versions
from ..pruning.saved_plans import PLAN_VERSION
from ..training.engine import on_cpu
from ..training.manifests import check_tested
from ..training.read_recipe import read_recipe
from ..training.recipe import PretrainRecipe, Recipe
from ..training.reporting import Reporter
from ..training.run import train
from ..training.task import resolve_task
from .cell_outputs import stored_outputs
from .cells import Cell
from .definition import Experiment, check_recipes
from .result_folder import ResultFolder, recipe_says

WAIT = 10.0  # seconds between checks of the cells that other processes run


class Ran(NamedTuple):
    """Number of cells finished by this process, and the errors of failed cells by name."""

    finished: int
    failed: dict[str, str]


def run_grid(
    grid: Experiment,
    folder: Path,
    reporter: Callable[[Cell], Reporter],
    only: Sequence[str] | None = None,
    seconds: float | None = None,
    changes: Sequence[str] = (),
) -> Ran:
    """Run cells in the grid's order until none is left, or until `seconds` have passed.

    Several processes may run the same grid at once. An interrupted cell resumes. After a cell
    fails, this call skips it and all cells that start from it, and runs the rest.

    Args:
        reporter: returns the reporter of a cell.
        only: names of cells; None: all.
        changes: to every recipe, for settings that do not affect results, such as run.threads=1.

    Raises:
        SpectrimError: a recipe does not fit; `only` has an unknown name; a cell, or one that it
            starts from, was finished with other settings than the grid's; what is left can never
            be run.
    """
    check_recipes(grid)
    results, finished, began = ResultFolder(make_folder(folder)), 0, time.monotonic()
    failed: dict[str, str] = {}
    names = None if only is None else {grid.cell(name).name for name in only}
    requested = [cell for cell in grid.cells if names is None or cell.name in names]
    _check_settings(grid, requested, results)
    while True:
        progressed = False
        left = [
            cell for cell in requested
            if results.result(cell) is None and failed.keys().isdisjoint(
                [cell.name, *starts_of(grid, cell)]
            )
        ]  # fmt: skip
        for cell in left:
            if seconds is not None and time.monotonic() - began > seconds:
                return Ran(finished, failed)
            if results.status(cell) in ("waiting", "lost"):
                continue
            with claim(results.claim_of(cell)) as mine:
                if mine and results.result(cell) is None:
                    try:
                        _run(grid, cell, results, reporter(cell), changes)
                        if difference := results.difference(
                            cell
                        ):  # else the loop would run it again forever
                            raise SpectrimError(
                                f"the finished cell has other settings than the grid "
                                f"({difference}). To run it again, delete "
                                f"{results.path_of(cell.name)}."
                            )
                        finished += 1
                    except SpectrimError as error:
                        failed[cell.name] = str(error)
                    progressed = True
                    break  # restart: a cell that was waiting may now come first
        if not left:
            _remove_stale_claims(requested, results)
            return Ran(finished, failed)
        if not progressed:
            try:
                _check_runnable(grid, left, results)
            except SpectrimError as error:
                if not failed:
                    raise
                failed[left[0].name] = str(error)  # in addition to the earlier failures
                return Ran(finished, failed)
            time.sleep(WAIT)


def _remove_stale_claims(cells: Sequence[Cell], results: ResultFolder) -> None:
    """Remove the claims of finished cells whose process was killed before it released them."""
    for cell in cells:
        claim_file = results.claim_of(cell)
        if claim_file.is_file() and holder(claim_file) is None and results.result(cell):
            claim_file.unlink(missing_ok=True)


def starts_of(grid: Experiment, cell: Cell) -> list[str]:
    """Names of the cells that a cell depends on, directly or indirectly."""
    starts: list[str] = []
    while cell.start is not None:
        starts.append(cell.start)
        cell = grid.cell(cell.start)
    return starts


def _check_settings(grid: Experiment, requested: Sequence[Cell], results: ResultFolder) -> None:
    """Raise if a finished cell that is requested or needed was run with other settings."""
    needed = {cell.name: cell for cell in requested}
    needed |= {name: grid.cell(name) for cell in requested for name in starts_of(grid, cell)}
    other = {name: text for name in needed if (text := results.difference(needed[name]))}
    if other:
        name, difference = next(iter(other.items()))
        more = f", and {len(other) - 1} more" if len(other) > 1 else ""
        raise SpectrimError(
            f"{results.path_of(name)} was run with other settings than {grid.path} has now "
            f"({difference}){more}. Use another --out, or delete that file, its folder in runs/ "
            "and those of the cells that depend on it to re-run them."
        )


def _check_runnable(grid: Experiment, left: Sequence[Cell], results: ResultFolder) -> None:
    """Raise if none of the remaining cells can ever be run.

    Another process may still finish the cell that others wait for. This is impossible if no
    process runs it, or if it is finished and its run folder is missing.
    """
    states = {cell.name: results.status(cell) for cell in left}
    if not set(states.values()) <= {"waiting", "lost"}:
        return
    lost = sorted({str(cell.start) for cell in left if states[cell.name] == "lost"})
    if lost:
        raise SpectrimError(
            f"{len(left)} cell(s) need the runs of {', '.join(lost)}, which are finished but not "
            f"in {results.folder / 'runs'}. Copy the missing runs there, use another --out, or "
            f"delete {results.path_of(lost[0])} and every cell that depends on it to re-run them "
            "(weights differ slightly across machines)."
        )
    needs = {start for cell in left for start in starts_of(grid, cell)}
    is_running = any(results.status(grid.cell(name)).startswith("running") for name in needs)
    is_finished_now = any(
        results.path_of(str(cell.start)).is_file() for cell in left
    )  # finished just now
    if not is_running and not is_finished_now:
        raise SpectrimError(
            f"{left[0].name} starts from {left[0].start}, which is not finished and which no "
            f"process runs. Run it first: --cell {left[0].start}."
        )


def _run(
    grid: Experiment, cell: Cell, results: ResultFolder, reporter: Reporter, changes: Sequence[str]
) -> None:
    began, recipe_text = time.time(), recipe_says(cell)  # which may change while it runs
    cache = f"data.cache={results.folder / 'waveforms'}"
    # Keep the head trained by the baseline, even if the recipe replaces the heads of other models.
    continues = cell.condition in ("tuned", "control", "elastic")
    trained_on = continues and str(cell.start).startswith("baseline/")
    first = ["model.fresh_head=null"] if trained_on else []
    given = [*first, *cell.changes, *changes, cache, "run.tensorboard=false"]
    if cell.condition == "untuned":
        assert cell.start is not None
        recipe = read_recipe(Path(cell.recipe), given, Recipe)
        outcome = _evaluate(grid, cell, cell.start, results, recipe, reporter)
    else:
        if cell.start:
            given.append(f"init={results.run_of(cell.start) / 'last'}")
        outcome = _train(grid, cell, results, given, reporter)
    identity = {
        "cell": cell.name,
        "kind": cell.condition,
        "column": cell.column,
        "run": cell.run,
        "score": cell.score,
        "keep_rate": cell.keep_rate,
        "plan_version": PLAN_VERSION,
        "recipe": cell.recipe,
        "recipe_says": recipe_text,
        "changes": list(cell.changes),
        "run_changes": list(changes),
        "start": cell.start,
    }
    record: dict[str, Any] = {"seconds": round(time.time() - began, 1)}
    record |= {
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }
    save_json(results.path_of(cell.name), identity | outcome | record)
    # Remove the state last: without a result, a half-removed state could not be resumed.
    shutil.rmtree(results.run_of(cell.name) / "state", ignore_errors=True)


def _train(
    grid: Experiment, cell: Cell, results: ResultFolder, changes: list[str], reporter: Reporter
) -> dict[str, Any]:
    out = results.run_of(cell.name)
    schema = PretrainRecipe if cell.condition == "pretrain" else Recipe
    recipe = read_recipe(Path(cell.recipe), changes, schema)
    if isinstance(recipe, Recipe):
        check_tested(recipe, cell.name)
    summary = train(recipe, out, reporter) or {}
    model = load(out / "last")
    classes: dict[str, Any] = {}
    if cell.condition == "elastic":
        assert isinstance(recipe, Recipe)
        classes = _evaluate(grid, cell, cell.name, results, recipe, reporter)
    elif cell.condition != "pretrain":
        classes = {"labels": list(model.labels)}
        arrays: dict[str, np.ndarray] = {}
        for checkpoint in ("last", "best"):
            with np.load(out / checkpoint / "predictions.npz", allow_pickle=False) as file:
                arrays |= {"paths": file["test_names"], "truth": file["test_truth"]}
                logits = file["test_logits"]
            probabilities = model.probabilities(torch.from_numpy(logits)).numpy()
            arrays |= stored_outputs(
                checkpoint, summary["metric"], logits, probabilities, arrays["truth"]
            )
        save_arrays(results.outputs(cell), compress=True, **arrays)
    kept = ["metric", "epochs", "last", "best", "best_on_test", "seconds"]
    kept += ["devices", "device", "precision"]
    outcome = {key: summary.get(key) for key in kept}
    outcome["trained_seconds"] = outcome.pop("seconds")
    return outcome | classes | {"gmacs": macs(model) / 1e9}


def _evaluate(
    grid: Experiment,
    cell: Cell,
    trained_cell: str,
    results: ResultFolder,
    recipe: Recipe,
    reporter: Reporter,
) -> dict[str, Any]:
    """Evaluate the last epoch of a trained cell at every score and keep rate of the grid.

    Args:
        cell: the cell that is run; trained_cell: name of the cell that has the weights.
    """
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    resolved = read_json(results.run_of(trained_cell) / "settled.json")
    task = resolve_task(recipe, resolved)
    clips, targets = task.split("test")
    device = "cpu" if on_cpu(recipe.run) else "cuda"
    model = load(results.run_of(trained_cell) / "last", device=device)
    order = [task.labels.index(label) for label in model.labels]
    variants = variants_of(
        model, "last", grid.definition.keep_rates, grid.definition.scores, recipe.blocks,
        recipe.seed, recipe.reduction,
    )  # fmt: skip
    tick = _summed(reporter, len(clips))
    predictions = predict([variant.runner for variant in variants], clips, 16, tick=tick)
    logits = [np.concatenate(batches) for batches in predictions.outputs]
    truth = indicator([targets[index] for index in predictions.positions], len(order))[:, order]
    outputs = [model.probabilities(torch.from_numpy(part)).numpy() for part in logits]
    rows: list[dict[str, Any]] = []
    for variant, output in zip(variants, outputs, strict=True):
        difference = paired_difference(task.metric, output, outputs[0], truth)
        rows.append(
            {
                "checkpoint": "last",
                "score": variant.score,
                "keep_rate": variant.keep_rate,
                "value": metric(task.metric, output, truth),
                "difference": [difference.value, difference.low, difference.high],
                "gmacs": variant.runner.macs / 1e9,
            }
        )
    save_arrays(
        results.outputs(cell),
        compress=True,
        paths=np.array(clip_names(clips))[predictions.positions],
        truth=truth,
        **stored_outputs("last", task.metric, np.stack(logits), np.stack(outputs), truth),
    )
    return {"metric": task.metric, "labels": list(model.labels), "rows": rows, "device": device}


def _summed(reporter: Reporter, clips: int) -> Callable[[int], None]:
    """Convert the batch sizes passed by `predict` to the running total for `Reporter.evaluated`."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        reporter.evaluated(done, clips)

    return tick
