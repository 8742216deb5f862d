"""A small grid, on clips whose file names repeat, as Speech Commands' do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spectrim.experiments.definition import Experiment
from spectrim.experiments.result_folder import ResultFolder
from spectrim.pruning.saved_plans import PLAN_VERSION
from tones import write_recipe, write_tones

SUPERVISED = """
epochs: 2
blocks: [2, 5, 8]
model: {preset: ast-tiny, frames: 64}
data: {manifest: MANIFEST}
optim: {lr: 5.0e-4, batch_size: 8, clip: 1.0}
run: {threads: 1}
"""
PRETRAIN = """
epochs: 1
decoder_width: 64
decoder_depth: 1
decoder_heads: 2
model: {preset: audiomae-tiny, frames: 64}
data: {manifest: MANIFEST}
optim: {lr: 1.0e-3, batch_size: 8}
run: {threads: 1}
"""
GRID = """
columns:
  ast-tones: {recipe: FOLDER/tones.yaml, task: tones, model: AST, paper: "AST, SPC-2",
              runs: [[seed=0], [seed=1]], changes: [init=ast-digits]}
  audiomae-tones: {recipe: FOLDER/tones.yaml, task: tones, model: AudioMAE, runs: [[seed=0]],
                   pretrained: true, tuned: [optim.clip=2.0]}
scores: [attention, variation-padded]
keep_rates: [0.7, 0.5]
tuned: [epochs=1, schedule.start=0, schedule.length=0.5]
pretrain: FOLDER/pretrain.yaml
pretrain_runs: [[seed=0]]
order: [pretrain/0, baseline/*/0, untuned/*/0, control/*/0, "tuned/*/attention-0.5/0"]
"""


def write_grid(folder: Path) -> Path:
    """Clips, recipes and `small.yaml` in a folder, which is returned."""
    tones = write_tones(folder, name="{}/{}-{}.wav")
    for name, text in (("tones", SUPERVISED), ("pretrain", PRETRAIN)):
        write_recipe(folder, tones, text).rename(folder / f"{name}.yaml")
    (folder / "small.yaml").write_text(GRID.replace("FOLDER", str(folder)))
    return folder


def answered(right: str) -> np.ndarray:
    """(clips, 2) outputs for truth of class 0: "1" where a clip is answered rightly."""
    return np.eye(2)[[1 - int(one) for one in right]]


def plant(grid: Experiment, folder: Path, name: str, about: dict[str, Any], **arrays: Any) -> None:
    """A finished cell that was never run: what it says, and its per-clip outputs."""
    cell, results = grid.cell(name), ResultFolder(folder)
    (folder / "cells").mkdir(exist_ok=True)
    ran = {"recipe": cell.recipe, "changes": cell.changes, "start": cell.start}
    ran["plan_version"] = PLAN_VERSION
    results.path_of(name).write_text(json.dumps(ran | about))
    clips = len(arrays["truth"])
    np.savez(results.outputs(cell), **{"paths": np.arange(clips).astype(str)} | arrays)


def pretend(
    grid: Experiment, folder: Path, name: str, right: str, gmacs: float = 1.0, turned: int = 1,
    chosen_on: str = "valid", chosen_rate: float | None = None,
) -> None:  # fmt: skip
    """A finished cell: of its clips, those answered rightly are "1" in `right`."""
    best: dict[str, Any] = {"selected_by": chosen_on}
    best |= {"keep_rate": chosen_rate} if chosen_rate else {}
    last = answered(right)[::turned]
    truth, paths = np.eye(2, dtype=bool)[np.zeros(len(right), int)], np.arange(len(right))
    about = {"metric": "accuracy", "gmacs": gmacs, "best": best}
    plant(grid, folder, name, about, paths=paths.astype(str)[::turned], truth=truth, last=last,
          best=last)  # fmt: skip


def pretend_untuned(
    grid: Experiment, folder: Path, name: str, plain: str, pruned: dict[str, str]
) -> None:
    """A finished untuned cell: `plain` unpruned, and `pruned`, such as "attention-0.5"."""
    rows: list[dict[str, Any]] = [{"score": None, "keep_rate": 1.0}]
    outputs = [answered(plain)]
    for score, rate in grid.cell(name).pairs:
        rows.append({"score": score, "keep_rate": rate})
        outputs.append(answered(pruned.get(f"{score}-{rate}", plain)))
    rows = [row | {"gmacs": row["keep_rate"], "checkpoint": "last"} for row in rows]
    truth = np.eye(2, dtype=bool)[np.zeros(len(plain), int)]
    plant(grid, folder, name, {"metric": "accuracy", "rows": rows}, truth=truth,
          last=np.stack(outputs), best=np.stack(outputs))  # fmt: skip
