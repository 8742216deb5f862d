"""Which cells of a grid can be run, and what is said of those that cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from grids import GRID, write_grid

from spectrim.common.errors import SpectrimError
from spectrim.training.grid import check_recipes, read_grid
from spectrim.training.grid_folder import GridFolder
from spectrim.training.grid_run import halved, run_grid
from spectrim.training.reporting import Silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


def test_wrong_calls_are_said(folder: Path, spectrim, tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("colums: {}")
    for words, text in (
        (("grid", "list", bad, "--out", "x"), "colums"),
        (("grid", "list", "nowhere.yaml", "--out", "x"), "nowhere.yaml"),
        (("grid", "run", folder / "small.yaml", "--out", "x", "--cell", "tuned/x"), "tuned/x"),
        (("grid", "run", folder / "small.yaml", "--out", "x", "--cell", "shelf/ast-tones/0"),
         "waits for baseline/ast-tones/0"),
    ):  # fmt: skip
        found = spectrim(*words)
        assert found.returncode == 2 and text in " ".join(found.stderr.split()), found.stderr


def test_mistakes_in_a_grid_are_said_before_the_first_cell(folder: Path, tmp_path) -> None:
    wrong = {
        "tuned: [epochs=1,": ("tuned: [epoch=1,", "no key 'epoch'. Did you mean 'epochs'?"),
        "scores: [attention": (
            "scores: [atention",
            "'atention' is none. Did you mean 'attention'?",
        ),
        "recipe: FOLDER/tones": ("recipe: FOLDER/tunes", "tunes.yaml"),
        "SPC-2": ("SPC-3", "columns.ast-tones.paper: 'AST, SPC-3' is none of the paper's columns"),
        "keep_rates: [0.7": ("keep_rates: [1.5", "keep_rates: a keep-rate of 1.5"),
        "order: [": ("orders: [", "no key 'orders'. Did you mean 'order' or 'scores'?"),
        "runs: [[seed=0]],": ("runs: 3,", "columns.audiomae-tones.runs"),
    }
    assert all(old in GRID for old in wrong)
    for number, (old, (new, text)) in enumerate(wrong.items()):
        path = tmp_path / f"wrong{number}.yaml"
        path.write_text(GRID.replace(old, new).replace("FOLDER", str(folder)))
        with pytest.raises(SpectrimError, match=re.escape(text)) as caught:
            check_recipes(read_grid(path))
        assert path.name in str(caught.value)
    idle = tmp_path / "idle.yaml"
    idle.write_text(GRID.replace("baseline/*/0", "baselin/*/0"))
    assert read_grid(idle).idle == ["baselin/*/0"]


def test_a_cell_waits_until_what_it_starts_from_is_finished(folder: Path, tmp_path) -> None:
    """A run leaves `last` after each epoch: weights that are not yet those of its end."""
    grid, results = read_grid(folder / "small.yaml"), GridFolder(tmp_path)
    (results.run_of("baseline/ast-tones/0") / "last").mkdir(parents=True)
    cell = grid.cell("shelf/ast-tones/0")
    assert results.status(cell) == "waiting"
    with pytest.raises(SpectrimError, match=r"waits for baseline/ast-tones/0.*nobody runs it"):
        run_grid(grid, tmp_path, lambda cell: Silent(), [cell.name])


def test_halved_logits_keep_their_top_class() -> None:
    """In float16 both of these logits would be 2.014, and the first of them the answer."""
    logits = np.array([[2.01400, 2.01401, -3.0]], np.float32)
    assert logits.astype(np.float16).argmax() == 0
    assert halved(logits, "accuracy").argmax() == 1
    assert np.array_equal(halved(logits, "mAP"), logits.astype(np.float16))


def test_a_column_without_test_clips_is_refused_before_it_trains(folder: Path, tmp_path) -> None:
    path = tmp_path / "untested.yaml"
    text = (folder / "small.yaml").read_text()
    path.write_text(text.replace("[init=ast-digits]", "[init=ast-digits, data.test_split=none]"))
    with pytest.raises(SpectrimError, match=r"baseline/ast-tones/0: .*no test clip.*'none'"):
        run_grid(read_grid(path), tmp_path, lambda cell: Silent(), ["baseline/ast-tones/0"])
    assert not GridFolder(tmp_path).run_of("baseline/ast-tones/0").exists()


def test_an_interrupted_cell_says_how_far_it_is(folder: Path, tmp_path) -> None:
    grid, results = read_grid(folder / "small.yaml"), GridFolder(tmp_path)
    cell = grid.cell("baseline/ast-tones/0")
    assert results.status(cell) == "ready"
    (results.run_of(cell.name) / "state").mkdir(parents=True)
    (results.run_of(cell.name) / "epochs.jsonl").write_text("{}\n{}\n")
    assert results.status(cell) == "begun (2 epochs)"


def test_a_finished_cell_whose_run_is_gone_is_named(folder: Path, spectrim, tmp_path) -> None:
    cells = tmp_path / "cells"
    cells.mkdir()
    made = read_grid(folder / "small.yaml").cell("baseline/ast-tones/0")
    result = {"recipe": made.recipe, "changes": made.changes, "start": made.start}
    (cells / "baseline--ast-tones--0.json").write_text(json.dumps(result))
    words = (folder / "small.yaml", "--out", tmp_path, "--cell", "shelf/ast-tones/0")
    assert "lost" in spectrim("grid", "list", *words[:3]).stdout
    found = spectrim("grid", "run", *words)
    said = " ".join(found.stderr.split())
    assert found.returncode == 2 and "Delete" in said, said
    assert "need the runs of baseline/ast-tones/0, which are finished but not in" in said
