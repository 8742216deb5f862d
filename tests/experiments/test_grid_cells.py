"""Which cells of a grid can be run, and what is said of those that cannot."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from small_grid import GRID, pretend_untuned, write_grid
from spectrim.common.errors import SpectrimError
from spectrim.experiments.cells import Cell
from spectrim.experiments.definition import check_recipes, read_grid
from spectrim.experiments.result_folder import ResultFolder
from spectrim.experiments.run_grid import run_grid
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


def test_wrong_calls_are_said(folder: Path, run_spectrim, tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("colums: {}")
    for words, text in (
        (("grid", "list", bad, "--out", "x"), "colums"),
        (("grid", "list", "nowhere.yaml", "--out", "x"), "nowhere.yaml"),
        (("grid", "run", folder / "small.yaml", "--out", "x", "--cell", "tuned/x"), "tuned/x"),
        (("grid", "run", folder / "small.yaml", "--out", "x", "--cell", "untuned/ast-tones/0"),
         "starts from baseline/ast-tones/0"),
    ):  # fmt: skip
        found = run_spectrim(*words)
        assert found.returncode == 2 and text in " ".join(found.stderr.split()), found.stderr


def test_mistakes_in_a_grid_are_said_before_the_first_cell(folder: Path, tmp_path) -> None:
    wrong = {
        "tuned: [epochs=1,": ("tuned: [epoch=1,", "no key 'epoch'. Did you mean 'epochs'?"),
        "scores: [attention": (
            "scores: [atention",
            "no score is called 'atention'. Did you mean 'attention'",
        ),
        "recipe: FOLDER/tones": ("recipe: FOLDER/tunes", "tunes.yaml"),
        "SPC-2": ("SPC-3", "columns.ast-tones.paper: 'AST, SPC-3' is none of the paper's columns"),
        "keep_rates: [0.7": ("keep_rates: [1.5", "keep_rates: a keep rate of 1.5"),
        "keep_rates: [0.7,": ("keep_rates: [1.0,", "remove 1.0, because the baseline is unpruned"),
        "changes: [init=ast-digits]": ("changes: [keep_rate=0.7]", "but baselines and"),
        "order: [": ("orders: [", "no key 'orders'. Did you mean 'order' or 'scores'?"),
        "runs: [[seed=0]],": ("runs: 3,", "columns.audiomae-tones.runs"),
        "pretrained: true,": ("evidence: [tunned],", "evidence 'tunned'; expected untuned, tuned"),
        "\norder: [": ("\nablations: {a: []}\norder: [", "Add elastic to `evidence`"),
        "columns:": (
            "evidence: [elastic]\nablations: {no/plans: []}\ncolumns:",
            "'no/plans' becomes part of file names",
        ),
        "\ncolumns:": (
            "\nevidence: [elastic]\nablations: {a: [schedule.kind=cosine]}\ncolumns:",
            "elastic cells need `schedule.kind=elastic`",
        ),
    }
    assert all(old in GRID for old in wrong)
    for number, (old, (new, text)) in enumerate(wrong.items()):
        path = tmp_path / f"wrong{number}.yaml"
        path.write_text(GRID.replace(old, new).replace("FOLDER", str(folder)))
        with pytest.raises(SpectrimError, match=re.escape(text)) as caught:
            check_recipes(read_grid(path))
        assert path.name in str(caught.value)
    for number, text in enumerate(("- columns\n", "columns: [a]\n")):
        path = tmp_path / f"list{number}.yaml"
        path.write_text(text)
        with pytest.raises(SpectrimError, match=f"{path.name}: expected keys and values"):
            read_grid(path)
    idle = tmp_path / "idle.yaml"
    idle.write_text(GRID.replace("baseline/*/0", "baselin/*/0"))
    assert read_grid(idle).idle == ["baselin/*/0"]


def test_a_file_is_no_folder_of_results(folder: Path, run_spectrim) -> None:
    file = folder / "tones.yaml"
    for command in ("list", "run"):
        done = run_spectrim("grid", command, folder / "small.yaml", "--out", file)
        assert done.returncode == 2 and str(file) in "".join(done.stderr.split("\n"))


def test_a_cell_waits_until_what_it_starts_from_is_finished(folder: Path, tmp_path) -> None:
    """A run leaves `last` after each epoch: weights that are not yet those of its end."""
    grid, results = read_grid(folder / "small.yaml"), ResultFolder(tmp_path)
    (results.run_of("baseline/ast-tones/0") / "last").mkdir(parents=True)
    cell = grid.cell("untuned/ast-tones/0")
    assert results.status(cell) == "waiting"
    with pytest.raises(SpectrimError, match=r"starts from baseline/ast-tones/0.*no process runs"):
        run_grid(grid, tmp_path, lambda cell: Silent(), [cell.name])


def test_a_column_without_test_clips_is_refused_before_it_trains(folder: Path, tmp_path) -> None:
    path = tmp_path / "untested.yaml"
    text = (folder / "small.yaml").read_text()
    path.write_text(text.replace("[init=ast-digits]", "[init=ast-digits, data.test_split=none]"))
    name = "baseline/ast-tones/0"
    ran = run_grid(read_grid(path), tmp_path, lambda cell: Silent(), [name])
    assert re.search(r"baseline/ast-tones/0: .*no test clip.*'none'", ran.failed[name])
    assert not ResultFolder(tmp_path).run_of("baseline/ast-tones/0").exists()


def test_a_cell_that_fails_stops_itself_and_what_starts_from_it_alone(
    folder: Path, run_spectrim, tmp_path
) -> None:
    """One column's learning rate is such that its loss is soon no number."""
    path = tmp_path / "wild.yaml"
    text = (folder / "small.yaml").read_text().replace("[init=ast-digits]", "[optim.lr=1e30]")
    text = text.replace("runs: [[seed=0]]", "runs: [[seed=0, epochs=1]]")
    path.write_text(text.replace("pretrained: true, ", ""))
    names = ["baseline/ast-tones/0", "control/ast-tones/0", "baseline/audiomae-tones/0"]
    words = [word for name in names for word in ("--cell", name)]
    done = run_spectrim("grid", "run", path, "--out", tmp_path / "out", *words)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1 and "Traceback" not in said, said
    assert (
        "error: baseline/ast-tones/0: " in said and "done: 1 cells finished by this process" in said
    )
    results = ResultFolder(tmp_path / "out")
    states = [results.status(read_grid(path).cell(name)) for name in names]
    assert states[0] in ("ready", "begun (0 epochs)", "begun (1 epochs)")
    assert states[1:] == ["waiting", "done"]


def test_what_failed_is_told_where_nothing_else_can_be_run_either(folder: Path, tmp_path) -> None:
    path = tmp_path / "untested.yaml"
    text = (folder / "small.yaml").read_text()
    path.write_text(text.replace("[init=ast-digits]", "[init=ast-digits, data.test_split=none]"))
    names = ["baseline/ast-tones/0", "untuned/audiomae-tones/0"]  # the second one's is not there
    ran = run_grid(read_grid(path), tmp_path, lambda cell: Silent(), names)
    assert ran.finished == 0 and set(ran.failed) == set(names)
    assert "no test clip" in ran.failed[names[0]]
    assert "starts from baseline/audiomae-tones/0" in ran.failed[names[1]]


def finished(results: ResultFolder, cell: Cell) -> None:
    """Leave what a cell that came to its end leaves, as far as the next one asks for it."""
    results.path_of(cell.name).parent.mkdir(parents=True, exist_ok=True)
    about = {"recipe": cell.recipe, "changes": cell.changes, "start": cell.start}
    results.path_of(cell.name).write_text(json.dumps(about))
    (results.run_of(cell.name) / "last").mkdir(parents=True)


def test_a_cell_that_comes_out_otherwise_is_not_run_for_ever(
    folder: Path, tmp_path, monkeypatch
) -> None:
    grid, results = read_grid(folder / "small.yaml"), ResultFolder(tmp_path)
    finished(results, grid.cell("baseline/ast-tones/0"))
    few = {"metric": "accuracy", "rows": [{"score": "attention", "keep_rate": 0.7}]}
    monkeypatch.setitem(run_grid.__globals__, "_evaluate", lambda *given: few)
    name = "untuned/ast-tones/0"
    ran = run_grid(grid, tmp_path, lambda cell: Silent(), [name])
    assert ran.finished == 0 and "(without attention-0.5" in ran.failed[name]


def test_a_head_that_the_baseline_has_trained_stays(folder: Path, tmp_path, monkeypatch) -> None:
    """Recipes that start from other models ask for a fresh one."""
    recipe = tmp_path / "fresh.yaml"
    text = (folder / "tones.yaml").read_text()
    recipe.write_text(text.replace("frames: 64", "frames: 64, fresh_head: true"))
    path = tmp_path / "fresh-grid.yaml"
    path.write_text(GRID.replace("FOLDER/tones.yaml", str(recipe)).replace("FOLDER", str(folder)))
    grid, results = read_grid(path), ResultFolder(tmp_path / "out")
    asked: dict[str, bool | None] = {}

    def train(recipe: Recipe, out: Path, reporter: Silent) -> None:
        asked[out.name.partition("-")[0]] = recipe.model.fresh_head
        raise SpectrimError("enough")

    monkeypatch.setitem(run_grid.__globals__, "train", train)
    base = "baseline/ast-tones/0"
    run_grid(grid, results.folder, lambda cell: Silent(), [base])
    finished(results, grid.cell(base))
    names = ["control/ast-tones/0", "tuned/ast-tones/attention-0.5/0"]
    run_grid(grid, results.folder, lambda cell: Silent(), names)
    assert asked == {"baseline": True, "control": None, "tuned": None}


def test_a_run_killed_while_its_state_is_removed_counts_as_done(
    folder: Path, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text((folder / "small.yaml").read_text().replace("pretrained: true, ", ""))
    grid, results = read_grid(path), ResultFolder(tmp_path)
    cell = grid.cell("baseline/audiomae-tones/0")

    def killed(path: Path, ignore_errors: bool) -> None:
        for file in path.glob("step-*/progress.json"):
            file.unlink()
        raise KeyboardInterrupt

    monkeypatch.setitem(run_grid.__globals__, "shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, tmp_path, lambda cell: Silent(), [cell.name])
    monkeypatch.undo()
    assert results.status(cell) == "done"
    assert run_grid(grid, tmp_path, lambda cell: Silent(), [cell.name]).finished == 0


def test_scores_of_ones_own_lie_where_one_stands(folder: Path, run_spectrim, tmp_path) -> None:
    path = tmp_path / "own.yaml"
    text = (folder / "small.yaml").read_text()
    (tmp_path / "my_scores.py").write_text("def mine(context):\n    return context.column_mean()\n")
    words = ("grid", "list", path, "--out", tmp_path / "out")
    path.write_text(text.replace("variation-padded]", "my_scores:mine]"))
    done = run_spectrim(*words)
    assert done.returncode == 0 and "tuned/ast-tones/my_scores:mine-0.7/0" in done.stdout
    path.write_text(text.replace("variation-padded]", "my_scores:yours]"))
    done = run_spectrim(*words)
    assert done.returncode == 2 and "yours" in done.stderr and "own.yaml" in done.stderr


def test_missing_manifests_are_named_in_the_list(folder: Path, run_spectrim, tmp_path) -> None:
    path = tmp_path / "away.yaml"
    column = "runs: [[seed=0], [seed=1]], changes: ["
    assert column in GRID
    text = GRID.replace(column, f"{column}data.test_manifest={tmp_path / 'gone.csv'}, ")
    path.write_text(text.replace("FOLDER", str(folder)))
    done = run_spectrim("grid", "list", path, "--out", tmp_path / "out")
    said = "".join(done.stderr.split())
    assert done.returncode == 0 and said.count("gone.csv") == 1, done.stderr
    assert "spectrimdataprepare" in said and "tones.csv" not in said


def test_an_interrupted_cell_says_how_far_it_is(folder: Path, tmp_path) -> None:
    grid, results = read_grid(folder / "small.yaml"), ResultFolder(tmp_path)
    cell = grid.cell("baseline/ast-tones/0")
    assert results.status(cell) == "ready"
    (results.run_of(cell.name) / "state").mkdir(parents=True)
    (results.run_of(cell.name) / "epochs.jsonl").write_text("{}\n{}\n")
    assert results.status(cell) == "begun (2 epochs)"


def test_a_finished_cell_whose_run_is_gone_is_named(folder: Path, run_spectrim, tmp_path) -> None:
    cells, base = tmp_path / "cells", read_grid(folder / "small.yaml").cell("baseline/ast-tones/0")
    finished(ResultFolder(tmp_path), base)
    shutil.rmtree(tmp_path / "runs")
    words = (folder / "small.yaml", "--out", tmp_path, "--cell", "untuned/ast-tones/0")
    (cells / "baseline--other--0.json").write_text("{}")
    listed = run_spectrim("grid", "list", *words[:3])
    assert "lost" in listed.stdout and "also holds 1 cells" in listed.stderr
    assert "baseline--other--0" in listed.stderr and "manifests" not in listed.stderr
    found = run_spectrim("grid", "run", *words)
    said = " ".join(found.stderr.split())
    assert found.returncode == 2 and "delete" in said and "another --out" in said, said
    assert "need the runs of baseline/ast-tones/0, which are finished but not in" in said


def test_the_old_name_of_untuned_cells_still_works(tmp_path) -> None:
    """Version 0.1 called them "shelf", in grid files, on the command line and as file names."""
    folder = write_grid(tmp_path)
    path = folder / "small.yaml"
    text = GRID.replace("FOLDER", str(folder))
    orders = []
    for kind in ("shelf", "untuned"):
        path.write_text(text.replace("untuned/*/0", f"{kind}/*/0") + f"evidence: [{kind}]\n")
        grid = read_grid(path)
        assert grid.idle == ["control/*/0", "tuned/*/attention-0.5/0"]
        orders.append([cell.name for cell in grid.cells])
    assert orders[0] == orders[1] and "untuned/ast-tones/0" in orders[1]
    cell = grid.cell("shelf/ast-tones/0")
    assert cell.name == "untuned/ast-tones/0"
    pretend_untuned(grid, tmp_path, cell.name, "11", {})
    results = ResultFolder(tmp_path)
    for new in (results.outputs(cell), results.path_of(cell.name)):
        new.rename(new.with_name(new.name.replace("untuned--", "shelf--")))
    assert results.status(cell) == "done" and results.outputs(cell).name.startswith("shelf--")


def test_a_column_may_have_its_own_evidence_and_start(tmp_path) -> None:
    folder = write_grid(tmp_path)
    path = folder / "small.yaml"
    text = GRID.replace("FOLDER", str(folder)).replace(
        "changes: [init=ast-digits]",
        "changes: [init=ast-digits], from_baseline: false, evidence: [untuned, elastic]",
    )
    path.write_text(text + "ablations: {without-plans: [schedule.plans=0]}\n")
    grid = read_grid(path)
    check_recipes(grid)
    names = {cell.name for cell in grid.cells if cell.run == 0}
    assert {name for name in names if "/ast-tones/" in name} == {
        "baseline/ast-tones/0", "untuned/ast-tones/0", "elastic/ast-tones/0",
        "ablation/ast-tones/without-plans/0",
    }  # fmt: skip
    # The other column keeps what the grid says: untuned, tuned and control, from the baseline.
    assert len(names) == 1 + 4 + 3 + 4 and "control/audiomae-tones/0" in names
    starts = {cell.name: cell.start for cell in grid.cells}
    assert starts["elastic/ast-tones/0"] is None
    assert starts["ablation/ast-tones/without-plans/0"] is None
    assert starts["tuned/audiomae-tones/attention-0.5/0"] == "baseline/audiomae-tones/0"
