"""What a grid's page says of finished cells that were made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from grids import write_grid

import spectrim
from spectrim.data.manifest import read_data
from spectrim.training.grid import Cell, Grid, read_grid
from spectrim.training.grid_findings import POINT, SENSITIVE, findings
from spectrim.training.grid_folder import GridFolder
from spectrim.training.grid_gaps import over_runs
from spectrim.training.grid_numbers import Numbers
from spectrim.training.grid_report import _head, _table
from spectrim.training.grid_run import run_grid
from spectrim.training.reporting import Silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


def pretend(
    grid, folder: Path, name: str, right: str, gmacs: float = 1.0, turned: int = 1,
    chosen_on: str = "valid",
) -> None:  # fmt: skip
    """A finished cell: of ten clips, those answered rightly are "1" in `right`."""
    cell, results = grid.cell(name), GridFolder(folder)
    (folder / "cells").mkdir(exist_ok=True)
    about = {"recipe": cell.recipe, "changes": cell.changes, "start": cell.start}
    about |= {"metric": "accuracy", "gmacs": gmacs, "best": {"selected_by": chosen_on}}
    results.path_of(name).write_text(json.dumps(about))
    last = np.eye(2)[[1 - int(one) for one in right]]
    truth = np.eye(2, dtype=bool)[np.zeros(len(right), int)]
    paths = np.arange(len(right)).astype(str)
    arrays = {"paths": paths, "truth": truth, "last": last, "best": last}
    np.savez(results.outputs(cell), **{key: each[::turned] for key, each in arrays.items()})


def test_an_epoch_that_the_test_clips_chose_is_called_so(folder, tmp_path) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, "baseline/ast-tones/0", "1" * 10, chosen_on="test")
    pretend(grid, tmp_path, "baseline/audiomae-tones/0", "1" * 10)
    results = GridFolder(tmp_path)
    entries = Numbers(grid, results).entries
    for name, split in (("ast-tones", "test"), ("audiomae-tones", "validation")):
        own = [entry for entry in entries if entry.column == name]
        assert f"epoch chosen on {split}: 100.0%" in _table(grid, name, own)
    assert "which flatters, or on validation clips" in _head(grid, results, entries)
    assert "that validation clips chose" in _head(grid, results, own)


TUNED = "tuned/{}-tones/attention-0.5/0"


def test_more_lost_by_audiomae_than_by_ast_shows_that_it_is_sensitive(folder, tmp_path) -> None:
    """AST loses one clip of ten against its control, AudioMAE three."""
    grid = read_grid(folder / "small.yaml")
    for model, right in (("ast", "1111111110"), ("audiomae", "0001111111")):
        pretend(grid, tmp_path, f"control/{model}-tones/0", "1" * 10)
        pretend(grid, tmp_path, TUNED.format(model), right)
    cases = findings(grid, Numbers(grid, GridFolder(tmp_path)))
    (case,) = [case for case in cases if case.finding == SENSITIVE]
    assert case.gap.value == pytest.approx(0.3 - 0.1)


@pytest.mark.parametrize(("gmacs", "shown"), [(0.65, True), (0.35, False), (0.95, False)])
def test_a_point_is_granted_where_a_third_is_saved(folder, tmp_path, gmacs, shown) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, "baseline/ast-tones/0", "1" * 10)
    pretend(grid, tmp_path, "control/ast-tones/0", "1" * 10)
    pretend(grid, tmp_path, TUNED.format("ast"), "1111111110", gmacs)
    cases = findings(grid, Numbers(grid, GridFolder(tmp_path)))
    found = [(case.gap.value, case.paper) for case in cases if case.finding == POINT]
    paper = (97.11 - 97.33) / 100 + 0.01  # the paper's AST on SPC-2
    assert found == ([(pytest.approx(-0.1 + 0.01), pytest.approx(paper))] if shown else [])


def test_a_difference_is_of_the_same_clips_in_whatever_order(folder, tmp_path) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, TUNED.format("ast"), "1111100000")
    pretend(grid, tmp_path, "control/ast-tones/0", "1111100000", turned=-1)
    entry = Numbers(grid, GridFolder(tmp_path)).get("ast-tones", "tuned", "attention", 0.5)
    pretend(grid, tmp_path, "control/ast-tones/0", "1111100000")
    same = Numbers(grid, GridFolder(tmp_path)).get("ast-tones", "tuned", "attention", 0.5)
    assert (entry.difference, entry.difference_error) == (0.0, same.difference_error)


def test_repetitions_on_other_clips_halve_the_error_of_map() -> None:
    rng = np.random.default_rng(0)
    truth, outputs, base = rng.random((150, 3)) < 0.4, rng.random((150, 3)), rng.random((150, 3))
    parts = [
        (
            np.array([f"{run} {clip}" for clip in range(150)]),
            [(1, outputs, truth), (-1, base, truth)],
        )
        for run in range(4)
    ]
    one, four = over_runs(parts[:1]), over_runs(parts)
    assert four.value == pytest.approx(one.value)
    assert four.error == pytest.approx(one.error / 2, rel=0.15)


def test_a_cell_that_started_from_something_else_is_changed(folder, tmp_path) -> None:
    """`pretrained: true` was taken out of the grid since, which is no change of a recipe."""
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, "baseline/audiomae-tones/0", "1" * 10)
    path = tmp_path / "scratch.yaml"
    path.write_text(
        (folder / "small.yaml").read_text().replace("pretrained: true", "pretrained: false")
    )
    cell, results = read_grid(path).cell("baseline/audiomae-tones/0"), GridFolder(tmp_path)
    assert results.status(grid.cell(cell.name)) == "done"
    assert results.status(cell) == "changed" and "pretrain/0" in results.difference(cell)


LABELS = ["middle", "low", "high"]


def with_baseline(grid: Grid, out: Path) -> Cell:
    """A shelf cell whose baseline is there, untrained."""
    run = GridFolder(out).run_of("baseline/ast-tones/0")
    model = spectrim.create("ast-tiny", frames=64, labels=LABELS)
    for name in ("last", "best"):
        model.save(run / name)
    (run / "settled.json").write_text(json.dumps({"mean": -5.0, "std": 3.0}))
    pretend(grid, out, "baseline/ast-tones/0", "1" * 10)
    return grid.cell("shelf/ast-tones/0")


def test_off_the_shelf_cells_run_where_training_does_and_tell_how_far(
    folder, tmp_path, monkeypatch
) -> None:
    grid = read_grid(folder / "small.yaml")
    shelf, devices, told = with_baseline(grid, tmp_path), [], []

    def load(path: Path, device: str) -> object:
        devices.append(device)
        return spectrim.load(path)

    class Tells(Silent):
        def evaluated(self, done: int, clips: int) -> None:
            told.append((done, clips))

    monkeypatch.setattr("spectrim.training.grid_run.load", load)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    run_grid(grid, tmp_path, lambda cell: Tells(), [shelf.name])
    found = GridFolder(tmp_path).result(shelf)
    assert devices == ["cuda", "cuda"] and found is not None and found["device"] == "cuda"
    assert (
        told[-1][0]
        == told[-1][1]
        == len(read_data(folder / "tones.csv").select(split="test").clips)
    )
    assert [done for done, _ in told].count(told[-1][0]) == 2  # of the last epoch and of the best


def test_off_the_shelf_the_truth_is_in_the_models_order_of_classes(folder, tmp_path) -> None:
    """A head that stayed at the start has its own order, the data's is that of the alphabet."""
    grid = read_grid(folder / "small.yaml")
    shelf = with_baseline(grid, tmp_path)
    run_grid(grid, tmp_path, lambda cell: Silent(), [shelf.name])
    with np.load(GridFolder(tmp_path).outputs(shelf)) as file:
        said = [LABELS[row.argmax()] for row in file["truth"]]
    test = read_data(folder / "tones.csv").select(split="test").clips
    assert said == [clip.labels[0] for clip in test]
