"""The grid driver: cells, order, numbers, page."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim
from small_grid import write_grid
from spectrim.common.errors import SpectrimError
from spectrim.data.manifest import read_data
from spectrim.experiments.cells import reference_condition
from spectrim.experiments.definition import check_recipes, read_grid
from spectrim.experiments.grid_numbers import Numbers
from spectrim.experiments.result_folder import ResultFolder
from spectrim.experiments.run_grid import run_grid
from spectrim.paper.table1_page import report
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe
from spectrim.training.reporting import Silent

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def done(folder: Path) -> ResultFolder:
    """The first repetition's cells, but for all but one of the tuned ones."""
    grid = read_grid(folder / "small.yaml")
    names = [cell.name for cell in grid.cells if cell.name.endswith("/0")]
    names = [name for name in names if not name.startswith("tuned") or "attention-0.5" in name]
    ran = run_grid(grid, folder / "out", lambda cell: Silent(), names)
    assert ran == (len(names), {}) == (9, {})
    return ResultFolder(folder / "out")


def test_cells_stand_in_the_order_asked_for_and_every_prefix_is_balanced(folder: Path) -> None:
    grid = read_grid(folder / "small.yaml")
    names = [cell.name for cell in grid.cells]
    assert len(set(names)) == len(names) == 1 + 3 * (3 + 4)
    assert names[:9] == [
        "pretrain/0", "baseline/ast-tones/0", "baseline/audiomae-tones/0", "untuned/ast-tones/0",
        "untuned/audiomae-tones/0", "control/ast-tones/0", "control/audiomae-tones/0",
        "tuned/ast-tones/attention-0.5/0", "tuned/audiomae-tones/attention-0.5/0",
    ]  # fmt: skip
    tuned = grid.cell("tuned/audiomae-tones/variation-padded-0.7/0")
    assert tuned.start == "baseline/audiomae-tones/0"
    assert {"keep_rate=0.7", "score=variation-padded", "epochs=1", "optim.clip=2.0"} <= set(
        tuned.changes
    )
    assert "optim.clip=2.0" in grid.cell("control/audiomae-tones/0").changes
    for cell in grid.cells:  # tuned cells train without masks once they prune
        assert ("schedule.masks_end=always" in cell.changes) == (cell.condition == "control")
    assert not any("clip" in c for cell in grid.cells for c in cell.changes if "ast-" in cell.name)


def test_the_grid_of_the_papers_table_is_whole() -> None:
    """Seven columns, 18 pruned cells each and one that is not, ESC-50 25 times."""
    grid = read_grid(ROOT / "grids" / "table1.yaml")
    assert len(grid.cells) == 19 * (5 + 2 * 25)
    assert all(cell.start is None for cell in grid.cells)


def test_the_grid_of_tiny_models_compares_equally_long_trainings(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    grid = read_grid(Path("grids/table1-tiny.yaml"))
    check_recipes(grid)
    assert grid.idle == []
    by_name = {cell.name: cell for cell in grid.cells}
    for cell in grid.cells:
        if cell.condition not in ("tuned", "elastic"):
            continue
        condition = reference_condition(grid.definition, str(cell.column), cell.condition)
        assert condition == ("baseline" if "digits" in cell.name else "control")
        reference = by_name[f"{condition}/{cell.column}/{cell.run}"]
        recipes = [
            read_recipe(Path(one.recipe), list(one.changes), Recipe) for one in (cell, reference)
        ]
        assert recipes[0].epochs == recipes[1].epochs and recipes[0].optim == recipes[1].optim
        assert recipes[0].init == recipes[1].init and cell.start == reference.start
        assert recipes[0].seed == recipes[1].seed and recipes[0].data == recipes[1].data
        # No model starts from one that was trained on the fold that it is tested on.
        fold, init = recipes[0].data.test_fold, str(recipes[0].init)
        if "esc50" in cell.name:  # ESC-10 models were tested on fold 5
            former = fold == "5" and init.endswith("esc10")
            assert former or f"pretrain-esc50-{fold}" in init
        if "mixtures" in cell.name:
            start = by_name[f"baseline/{str(cell.column).replace('mixtures', 'esc50')}/{cell.run}"]
            assert f"data.test_fold={fold}" in start.changes
            assert init == f"runs/table1/runs/{start.name.replace('/', '--')}/last"


def test_finished_cells_are_not_run_again_and_outputs_give_the_metric(
    folder: Path, done: ResultFolder
) -> None:
    grid = read_grid(folder / "small.yaml")
    for cell in grid.cells[:9]:
        assert done.status(cell) == "done"
    assert done.status(grid.cell("baseline/ast-tones/1")) == "ready"
    assert done.status(grid.cell("untuned/ast-tones/1")) == "waiting"
    result = done.result(grid.cell("baseline/ast-tones/0"))
    with np.load(done.outputs(grid.cell("baseline/ast-tones/0"))) as file:
        right = file["truth"][np.arange(9), file["last_top"]]
        said = [result["labels"][row.argmax()] for row in file["truth"]]
        assert ((file["last_rank"] == 0) == right).all()
    assert result["last"]["test"] == pytest.approx(right.mean(), abs=1e-6)
    test = read_data(folder / "tones.csv").select(split="test").clips
    assert said == [clip.labels[0] for clip in test]
    untuned = done.result(grid.cell("untuned/ast-tones/0"))
    rows = untuned["rows"]
    assert [(row["score"], row["keep_rate"]) for row in rows] == [
        (None, 1.0), ("attention", 0.7), ("attention", 0.5),
        ("variation-padded", 0.7), ("variation-padded", 0.5),
    ]  # fmt: skip
    assert rows[0]["value"] == pytest.approx(result["last"]["test"], abs=1e-6)
    tuned = done.result(grid.cell("tuned/ast-tones/attention-0.5/0"))
    assert tuned["last"]["keep_rate"] == 0.5
    assert tuned["gmacs"] < result["gmacs"]
    assert rows[2]["gmacs"] == tuned["gmacs"], "pruned at the recipe's blocks, as what was trained"
    start = folder / "out" / "runs" / "tuned--ast-tones--attention-0.5--0" / "recipe.yaml"
    assert "baseline--ast-tones--0/last" in start.read_text()


def test_numbers_are_pooled_over_clips(folder: Path, done: ResultFolder) -> None:
    found = Numbers(read_grid(folder / "small.yaml"), done).entries
    by = {(e.column, e.condition, e.score, e.keep_rate): e for e in found}
    tuned = by["ast-tones", "tuned", "attention", 0.5]
    right = {}
    for name in ("tuned--ast-tones--attention-0.5--0", "control--ast-tones--0"):
        with np.load(folder / "out" / "cells" / f"{name}.npz") as file:
            right[name] = file["truth"][np.arange(9), file["last_top"]].astype(float)
    difference = np.subtract(*right.values())
    assert tuned.difference == pytest.approx(difference.mean())
    assert (tuned.clips, tuned.value) == (9, pytest.approx(right[next(iter(right))].mean()))
    assert tuned.difference_error == pytest.approx(_bonett_price(difference))
    assert {key[1] for key in by} == {"baseline", "control", "untuned", "tuned"}


def test_what_the_grid_asks_no_more_is_left_out(folder: Path, done: ResultFolder, tmp_path) -> None:
    path = tmp_path / "fewer.yaml"
    text = (
        (folder / "small.yaml").read_text().replace("[attention, variation-padded]", "[attention]")
    )
    path.write_text(text.replace("[0.7, 0.5]", "[0.5]"))
    found = Numbers(read_grid(path), done).entries
    untuned = [(e.score, e.keep_rate) for e in found if e.condition == "untuned"]
    assert untuned == [("attention", 0.5)] * 2
    whole = Numbers(read_grid(folder / "small.yaml"), done)
    for entry in found:
        assert entry == whole.get(entry.column, entry.condition, entry.score, entry.keep_rate)


def test_an_elastic_cell_is_trained_once_and_evaluated_at_every_keep_rate(
    folder: Path, done: ResultFolder, tmp_path
) -> None:
    out = shutil.copytree(done.folder, tmp_path / "out")
    text = (folder / "small.yaml").read_text()
    text += "evidence: [untuned, tuned, control, elastic]\ntuned_keep_rates: [0.5]\n"
    path = tmp_path / "elastic.yaml"
    text += "elastic: [epochs=1, schedule.kind=elastic, schedule.low=0.5]\n"
    path.write_text(text + "ablations: {without-plans: [schedule.plans=0]}\n")
    grid = read_grid(path)
    assert {cell.keep_rate for cell in grid.cells if cell.condition == "tuned"} == {0.5}
    name, ablation = "elastic/ast-tones/0", "ablation/ast-tones/without-plans/0"
    assert run_grid(grid, out, lambda cell: Silent(), [name, ablation]) == (2, {})
    results = ResultFolder(out)
    model = spectrim.load(results.run_of(name) / "last")
    assert model.config.trained_range.low == 0.5
    rows = results.result(grid.cell(name))["rows"]
    clips = [clip.path for clip in read_data(folder / "tones.csv").select(split="test").clips]
    with np.load(results.outputs(grid.cell(name))) as file:
        for row, top in zip(rows, file["last_top"], strict=True):
            plan = {"keep_rate": row["keep_rate"], "score": row["score"] or "attention"}
            pruned = spectrim.prune(model, **plan, blocks=[2, 5, 8]).eval()
            with torch.inference_mode():
                assert top.tolist() == pruned(*pruned.features(clips)).argmax(1).tolist()
    numbers = Numbers(grid, results)
    (control,) = [e for e in numbers.entries if (e.column, e.condition) == ("ast-tones", "control")]
    for score, rate in ((None, 1.0), ("attention", 0.5), ("variation-padded", 0.7)):
        entry = numbers.get("ast-tones", "elastic", score, rate)
        assert entry.difference == pytest.approx(entry.value - control.value)
    ablated = numbers.get("ast-tones", "elastic without plans", "attention", 0.5)
    elastic = numbers.get("ast-tones", "elastic", "attention", 0.5)
    report(grid, out, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| elastic |  | 1 |" in page and "| elastic | attention | 1 |" in page
    assert "| elastic without plans | 1 of 2 | 0 of 1 |" in page
    alternatives = page.split("## Alternatives")[1]
    row = next(line for line in alternatives.splitlines() if "without plans |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["AST, tones", "elastic without plans", "1"]
    change = 100 * (ablated.value - elastic.value)
    assert float(cells[-1].split(" ")[0]) == pytest.approx(change, abs=0.051)
    tuned = numbers.get("ast-tones", "tuned", "attention", 0.5)
    row = next(line for line in alternatives.splitlines() if "once for each keep rate |" in line)
    change = float(row.strip("|").split("|")[-1].strip().split(" ")[0])
    assert change == pytest.approx(100 * (tuned.value - elastic.value), abs=0.051)
    both = results.result(grid.cell(name)), results.result(grid.cell(ablation))
    assert "schedule.plans=0" in both[1]["changes"] and "schedule.plans=0" not in both[0]["changes"]


def test_gaps_are_paired_over_the_same_clips(folder: Path, done: ResultFolder) -> None:
    numbers = Numbers(read_grid(folder / "small.yaml"), done)
    ast, mae = (numbers.get(f"{m}-tones", "tuned", "attention", 0.5) for m in ("ast", "audiomae"))
    right: dict[str, np.ndarray] = {}
    for name in ("tuned--{}-tones--attention-0.5--0", "control--{}-tones--0"):
        for model in ("ast", "audiomae"):
            with np.load(folder / "out" / "cells" / f"{name.format(model)}.npz") as file:
                order = np.argsort(file["paths"])
                hit = file["truth"][np.arange(9), file["last_top"]].astype(float)
                right[f"{name[:5]} {model}"] = hit[order]
    plain = right["tuned ast"] - right["tuned audiomae"]
    both = plain - (right["contr ast"] - right["contr audiomae"])
    for values, gap_of in ((plain, numbers.gap), (both, numbers.gap_of_differences)):
        gap = gap_of(ast, mae)
        assert gap.value == pytest.approx(values.mean())
        assert gap.error == pytest.approx(_bonett_price(values))
    none = numbers.gap(ast, ast)
    assert (none.value, none.error) == (0.0, pytest.approx((2 / 11) ** 0.5 / 11**0.5))


def _bonett_price(change: np.ndarray) -> float:
    """With one clip won and one lost; differences of differences may be 2, so by moments."""
    n = len(change) + 2
    squares, total = float((change**2).sum()) + 2, float(change.sum())
    return math.sqrt((squares / n - (total / n) ** 2) / n)


def test_the_page_has_tables_figure_and_what_is_missing(
    folder: Path, done: ResultFolder, run_spectrim, tmp_path
) -> None:
    page = tmp_path / "docs" / "small.md"
    words = ("grid", "report", folder / "small.yaml", "--out", folder / "out", "--page", page)
    assert run_spectrim(*words).returncode == 0
    text = page.read_text()
    assert "9 of 22 cells" in text and "## AST, tones" in text and "## AudioMAE, tones" in text
    assert "| the paper's AST, SPC-2, unpruned |  |  | 97.33 |" in text
    assert "| fine-tuned | 2 of 8 | 0 of 4 |" in text and "| pretrain | 1 of 1 | 0 of 0 |" in text
    assert "| ast-tones | 3 fine-tuned | all |" in text and "The paper's findings" in text
    assert "| pretrain |" not in text.split("Not run yet")[1]
    assert page.with_suffix(".png").stat().st_size > 10_000
    assert "| without fine-tuning |" in text
    data = json.loads(page.with_suffix(".json").read_text())
    assert len(data["rows"]) == 2 + 2 + 8 + 2 and len(data["missing"]) == 13
    assert {case["evidence"] for case in data["cases"]} == {"fine-tuned", "without fine-tuning"}
    assert len(data["provenance"]["cells"]) == 9
    assert "control/ast-tones/1" in data["missing"]
    assert "In brackets" not in text, "all values stand on one repetition"
    idle = tmp_path / "idle.yaml"
    idle.write_text((folder / "small.yaml").read_text().replace("baseline/*/0", "baselin/*/0"))
    listed = run_spectrim("grid", "list", idle, "--out", folder / "out")
    assert (
        "9 of 22 cells are done" in listed.stdout and "no cell matches baselin/*/0" in listed.stderr
    )


def test_rows_say_how_many_repetitions_they_rest_on(
    folder: Path, done: ResultFolder, run_spectrim, tmp_path
) -> None:
    """A second repetition without fine-tuning, with the outputs of the first; none fine-tuned."""
    cells = tmp_path / "out" / "cells"
    shutil.copytree(folder / "out" / "cells", cells)
    for name in ("baseline--ast-tones", "untuned--ast-tones"):
        shutil.copy(cells / f"{name}--0.npz", cells / f"{name}--1.npz")
        text = (cells / f"{name}--0.json").read_text().replace("seed=0", "seed=1")
        (cells / f"{name}--1.json").write_text(text.replace("/ast-tones/0", "/ast-tones/1"))
    page = tmp_path / "small.md"
    words = ("grid", "report", folder / "small.yaml", "--out", tmp_path / "out", "--page", page)
    assert run_spectrim(*words).returncode == 0
    text = page.read_text().split("## AST, tones")[1]
    ast, other = text.split("## AudioMAE, tones")
    assert "| without fine-tuning | attention | 2 |" in ast
    assert "| fine-tuned | attention | 1 |" in ast
    assert "| without fine-tuning | attention | 1 |" in other


def test_cells_of_another_grid_are_not_taken_for_this_ones(
    folder: Path, done: ResultFolder, tmp_path
) -> None:
    """Cells that were run with one epoch, in a grid that asks for three; and a score more."""
    out, page = tmp_path / "out", tmp_path / "other.md"
    shutil.copytree(folder / "out" / "cells", out / "cells")
    small = (folder / "small.yaml").read_text()
    path = tmp_path / "other.yaml"
    path.write_text(small.replace("tuned: [epochs=1,", "tuned: [epochs=3,"))
    grid = read_grid(path)
    states = [ResultFolder(out).status(cell) for cell in grid.cells]
    assert (states.count("done"), states.count("changed")) == (5, 4)
    with pytest.raises(SpectrimError, match=r"epochs=1 there; epochs=3 in the grid.*--out"):
        run_grid(grid, out, lambda cell: Silent(), ["control/ast-tones/0"])
    report(grid, out, page)
    assert "5 of 22 cells" in page.read_text()
    assert "`control/ast-tones/0`" in page.read_text().split("Left out")[1]
    path.write_text(small.replace("variation-padded]", "variation-padded, intensity]"))
    with pytest.raises(SpectrimError, match=r"without intensity-0\.7, intensity-0\.5"):
        run_grid(read_grid(path), out, lambda cell: Silent(), ["untuned/ast-tones/0"])


def test_cells_of_another_recipe_file_are_not_taken_for_this_ones(
    folder: Path, done: ResultFolder, tmp_path
) -> None:
    """A recipe is edited between two runs of a grid; words that change nothing do not count."""
    recipe, path, out = tmp_path / "tones.yaml", tmp_path / "same.yaml", tmp_path / "out"
    shutil.copytree(folder / "out" / "cells", out / "cells")
    for file in (out / "cells").glob("*.json"):
        file.write_text(file.read_text().replace(f"{folder}/tones.yaml", str(recipe)))
    text = (folder / "tones.yaml").read_text()
    small = (folder / "small.yaml").read_text()
    path.write_text(small.replace(f"{folder}/tones.yaml", str(recipe)))

    def states() -> list[str]:
        return [ResultFolder(out).status(cell) for cell in read_grid(path).cells]

    recipe.write_text("# a comment\n" + text.replace("5.0e-4", "0.0005"))
    assert (states().count("done"), states().count("changed")) == (9, 0)
    recipe.write_text(text.replace("5.0e-4", "1.0e-3"))
    assert (states().count("done"), states().count("changed")) == (1, 8)  # pretrain/0 is as it was
    with pytest.raises(SpectrimError, match=r"optim\.lr=0\.0005 there; optim\.lr=0\.001 in the"):
        run_grid(read_grid(path), out, lambda cell: Silent(), ["control/ast-tones/0"])


def test_without_its_control_a_fine_tuned_cell_has_no_difference(
    folder: Path, done: ResultFolder, tmp_path
) -> None:
    """Extra epochs are no gain of pruning; only a grid that has no controls takes baselines."""
    shutil.copytree(folder / "out" / "cells", tmp_path / "cells")
    (tmp_path / "cells" / "control--ast-tones--0.json").unlink()
    grid = read_grid(folder / "small.yaml")
    key = ("ast-tones", "tuned", "attention", 0.5)
    assert Numbers(grid, ResultFolder(tmp_path)).get(*key).difference is None
    other = tmp_path / "other.yaml"
    other.write_text((folder / "small.yaml").read_text() + "evidence: [untuned, tuned]\n")
    assert Numbers(read_grid(other), ResultFolder(tmp_path)).get(*key).difference is not None


def test_a_grid_of_ones_own_is_not_held_against_the_paper(
    folder: Path, done: ResultFolder, run_spectrim, tmp_path
) -> None:
    grid = tmp_path / "own.yaml"
    grid.write_text((folder / "small.yaml").read_text().replace('"AST, SPC-2"', '""'))
    words = ("grid", "report", grid, "--page", tmp_path / "a.md", "--out")
    assert run_spectrim(*words, folder / "out").returncode == 0
    text = (tmp_path / "a.md").read_text()
    assert "paper" not in text and "## AST, tones" in text
    none = run_spectrim(*words, tmp_path / "none")
    assert none.returncode == 2 and "no finished cell" in " ".join(none.stderr.split())
