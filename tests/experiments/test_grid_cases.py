"""What a grid's page says of finished cells that were made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim
from small_grid import pretend, pretend_untuned, write_grid
from spectrim.data.manifest import read_data
from spectrim.experiments.cells import Cell
from spectrim.experiments.definition import Experiment, read_grid
from spectrim.experiments.grid_numbers import Numbers
from spectrim.experiments.result_folder import ResultFolder
from spectrim.experiments.run_grid import run_grid
from spectrim.metrics.pooled import Gap, figure_over_clips, over_runs
from spectrim.paper.findings import Finding, case_of
from spectrim.paper.table1_figure import draw_table1
from spectrim.paper.table1_findings import (
    ATTENTION,
    POINT,
    SENSITIVE,
    SENSITIVE_TOO,
    answers,
    findings,
)
from spectrim.paper.table1_page import _table
from spectrim.training.reporting import Silent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


TUNED = "tuned/{}-tones/attention-0.5/0"


@pytest.mark.parametrize(("rate", "early"), [(1.0, 1), (0.52, 1), (0.5, 0)])
def test_a_chosen_epoch_before_the_keep_rate_came_down_is_counted(
    folder, tmp_path, rate, early
) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, TUNED.format("ast"), "1" * 10, chosen_rate=rate, chosen_on="test")
    (entry,) = Numbers(grid, ResultFolder(tmp_path)).entries
    assert (entry.early, entry.chosen, entry.chosen_on) == (early, 1.0, "test")


def test_figures_are_of_the_repetitions_that_have_a_control(folder, tmp_path) -> None:
    grid = read_grid(folder / "small.yaml")
    for run, right in enumerate(("1111111111", "1111000000")):
        pretend(grid, tmp_path, f"tuned/ast-tones/attention-0.5/{run}", right)
    both = Numbers(grid, ResultFolder(tmp_path)).get("ast-tones", "tuned", "attention", 0.5)
    assert (both.value, both.runs, both.difference) == (pytest.approx(0.7), (0, 1), None)
    pretend(grid, tmp_path, "control/ast-tones/1", "1111111110")
    numbers = Numbers(grid, ResultFolder(tmp_path))
    tuned = numbers.get("ast-tones", "tuned", "attention", 0.5)
    assert (tuned.value, tuned.runs) == (pytest.approx(0.4), (1,))
    assert tuned.difference == pytest.approx(0.4 - 0.9)
    assert tuned.detectable == pytest.approx(2.84 * tuned.difference_error)
    text = _table(grid, "ast-tones", numbers.entries)
    assert "| fine-tuned | attention | 1 |  |  | 40.0 (-50.0 ±18.5) | 52.5 |" in text


def test_a_row_rests_on_the_repetitions_that_all_of_its_keep_rates_have(folder, tmp_path) -> None:
    """Keep rate 0.5 has both repetitions, and 0.7 has only the second."""
    grid = read_grid(folder / "small.yaml")
    name = "tuned/ast-tones/attention-{}/{}"
    for rate, run, right in (
        (0.5, 0, "1111111111"), (0.5, 1, "1111000000"), (0.7, 1, "1111111100"),
    ):  # fmt: skip
        pretend(grid, tmp_path, name.format(rate, run), right)
    entries = Numbers(grid, ResultFolder(tmp_path)).entries
    assert [(e.keep_rate, e.runs, e.value) for e in entries] == [
        (0.7, (1,), pytest.approx(0.8)), (0.5, (1,), pytest.approx(0.4)),
    ]  # fmt: skip


def test_scores_of_the_same_answers_are_one_case(folder, tmp_path) -> None:
    """Intensity and variation agree on all clips at 0.5 and on nine of ten at 0.4."""
    path = tmp_path / "three.yaml"
    text = (folder / "small.yaml").read_text()
    text = text.replace("[attention, variation", "[attention, intensity-padded, variation")
    path.write_text(text.replace("keep_rates: [0.7, 0.5]", "keep_rates: [0.5, 0.4]"))
    grid = read_grid(path)
    pruned = {f"{score}-{rate}": "1" * 8 + "00" for score in ("intensity-padded",
              "variation-padded") for rate in (0.5, 0.4)}  # fmt: skip
    pruned["variation-padded-0.4"] = "1" * 7 + "000"
    for model in ("ast", "audiomae"):
        pretend_untuned(grid, tmp_path, f"untuned/{model}-tones/0", "1" * 10, pruned)
    numbers = Numbers(grid, ResultFolder(tmp_path))
    pair = [numbers.get("ast-tones", "untuned", score, 0.4) for score in grid.definition.scores[1:]]
    assert numbers.agreement(*pair) == pytest.approx(0.9)
    names = {
        title: sorted(case.name for f in findings(grid, numbers) if f.title == title
                      for case in f.cases)
        for title in (ATTENTION, SENSITIVE_TOO)
    }  # fmt: skip
    both = "intensity-padded and variation-padded"
    assert names[SENSITIVE_TOO] == [
        f"tones by {both} at 0.5",
        "tones by intensity-padded at 0.4",
        "tones by variation-padded at 0.4",
    ]
    assert [name for name in names[ATTENTION] if name.startswith("ast")] == [
        "ast-tones at 0.4, over intensity-padded",
        "ast-tones at 0.4, over variation-padded",
        f"ast-tones at 0.5, over {both}",
    ]


def test_an_accuracy_without_a_wrong_answer_is_no_certainty() -> None:
    names = np.arange(300).astype(str)
    share = 302 / 304  # Agresti and Coull's two right and two wrong
    found = figure_over_clips([(names, np.ones(300))])
    assert found.value == 1.0
    assert found.error == pytest.approx((share * (1 - share) / 304) ** 0.5)


def test_a_tie_in_the_paper_is_at_least_as_well_and_no_loss() -> None:
    gap = Gap(0.0, 0.1, np.zeros(400))
    cases = [case_of("x", "column", gap, paper) for paper in (0.0, 0.1, -0.1)]
    tested = [Finding(title, "", cases, "") for title in (ATTENTION, SENSITIVE)]
    said = {row["finding"]: row["in_paper"] for row in answers(tested)}
    assert (said[ATTENTION], said[SENSITIVE]) == (2, 1)


def test_a_figure_of_many_scores(folder, tmp_path) -> None:
    path, scores = tmp_path / "many.yaml", [f"m:s{at}" for at in range(9)]
    text = (folder / "small.yaml").read_text()
    path.write_text(
        text.replace("[attention, variation-padded]", f"[{', '.join(map(repr, scores))}]")
    )
    grid = read_grid(path)
    for at, score in enumerate(scores):
        pretend(grid, tmp_path, f"tuned/ast-tones/{score}-0.5/0", "1" * 10, gmacs=at + 1)
    pretend(grid, tmp_path, "control/ast-tones/0", "1" * 10)
    assert draw_table1(grid, Numbers(grid, ResultFolder(tmp_path)).entries, tmp_path / "many.png")


def test_more_lost_by_audiomae_than_by_ast_shows_that_it_is_sensitive(folder, tmp_path) -> None:
    """AST loses one clip of ten against its control, AudioMAE three."""
    grid = read_grid(folder / "small.yaml")
    for model, right in (("ast", "1111111110"), ("audiomae", "0001111111")):
        pretend(grid, tmp_path, f"control/{model}-tones/0", "1" * 10)
        pretend(grid, tmp_path, TUNED.format(model), right)
    tested = findings(grid, Numbers(grid, ResultFolder(tmp_path)))
    (case,) = [case for finding in tested for case in finding.cases if finding.title == SENSITIVE]
    assert case.gap.value == pytest.approx(0.3 - 0.1)


@pytest.mark.parametrize(("gmacs", "shown"), [(0.65, True), (0.35, False), (0.95, False)])
def test_a_point_is_granted_where_a_third_is_saved(folder, tmp_path, gmacs, shown) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, "baseline/ast-tones/0", "1" * 10)
    pretend(grid, tmp_path, "control/ast-tones/0", "1" * 10)
    pretend(grid, tmp_path, TUNED.format("ast"), "1111111110", gmacs)
    tested = findings(grid, Numbers(grid, ResultFolder(tmp_path)))
    found = [
        (case.difference, case.paper_difference)
        for finding in tested
        for case in finding.cases
        if finding.title == POINT
    ]
    paper = (97.11 - 97.33) / 100 + 0.01  # the paper's AST on SPC-2
    assert found == ([(pytest.approx(-0.1 + 0.01), pytest.approx(paper))] if shown else [])


def test_a_difference_is_of_the_same_clips_in_whatever_order(folder, tmp_path) -> None:
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, TUNED.format("ast"), "1111100000")
    pretend(grid, tmp_path, "control/ast-tones/0", "1111100000", turned=-1)
    entry = Numbers(grid, ResultFolder(tmp_path)).get("ast-tones", "tuned", "attention", 0.5)
    pretend(grid, tmp_path, "control/ast-tones/0", "1111100000")
    same = Numbers(grid, ResultFolder(tmp_path)).get("ast-tones", "tuned", "attention", 0.5)
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


def test_errors_of_mixtures_know_that_these_share_clips() -> None:
    """Worlds drawn anew: how far mAP scatters, and what is said of it; whole mixtures say less."""
    rng = np.random.default_rng(0)
    values, errors, plain = [], [], []
    for _ in range(80):
        labels, hard = rng.integers(0, 4, 30), rng.normal(0, 0.7, (30, 4))
        firsts, seconds = np.repeat(np.arange(30), 2), rng.integers(1, 30, 60)
        pairs = [(one, (one + step) % 30) for one, step in zip(firsts, seconds, strict=True)]
        truth = np.array([[at in labels[list(pair)] for at in range(4)] for pair in pairs])
        outputs = truth * 1.5 + np.array([hard[a] + hard[b] for a, b in pairs])
        outputs = outputs + rng.normal(0, 1, outputs.shape)
        for names, found in (
            ([f"1-{a}-A+1-{b}-B.flac" for a, b in pairs], errors),
            ([f"{at}.flac" for at in range(60)], plain),
        ):
            gap = over_runs([(np.array(names), [(1, outputs, truth)])])
            found.append(gap.error)
        values.append(gap.value)
    scatter = np.std(values)
    assert np.mean(plain) < 0.9 * scatter < scatter < np.mean(errors) < 1.5 * scatter


def test_a_cell_that_started_from_something_else_is_changed(folder, tmp_path) -> None:
    """`pretrained: true` was taken out of the grid since, which is no change of a recipe."""
    grid = read_grid(folder / "small.yaml")
    pretend(grid, tmp_path, "baseline/audiomae-tones/0", "1" * 10)
    path = tmp_path / "scratch.yaml"
    path.write_text(
        (folder / "small.yaml").read_text().replace("pretrained: true", "pretrained: false")
    )
    cell, results = read_grid(path).cell("baseline/audiomae-tones/0"), ResultFolder(tmp_path)
    assert results.status(grid.cell(cell.name)) == "done"
    assert results.status(cell) == "changed" and "pretrain/0" in results.difference(cell)


LABELS = ["middle", "low", "high"]


def with_baseline(grid: Experiment, out: Path) -> Cell:
    """An untuned cell whose baseline is there, untrained."""
    run = ResultFolder(out).run_of("baseline/ast-tones/0")
    model = spectrim.create("ast-tiny", frames=64, labels=LABELS)
    model.save(run / "last")
    spectrim.create("ast-tiny", frames=64, labels=LABELS).save(run / "best")
    (run / "settled.json").write_text(json.dumps({"mean": -5.0, "std": 3.0}))
    pretend(grid, out, "baseline/ast-tones/0", "1" * 10)
    return grid.cell("untuned/ast-tones/0")


def test_untuned_cells_run_where_training_does_and_tell_how_far(
    folder, tmp_path, monkeypatch
) -> None:
    grid = read_grid(folder / "small.yaml")
    untuned, devices, told = with_baseline(grid, tmp_path), [], []

    def load(path: Path, device: str) -> object:
        devices.append(device)
        return spectrim.load(path)

    class Tells(Silent):
        def evaluated(self, done: int, clips: int) -> None:
            told.append((done, clips))

    monkeypatch.setitem(run_grid.__globals__, "load", load)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    run_grid(grid, tmp_path, lambda cell: Tells(), [untuned.name])
    found = ResultFolder(tmp_path).result(untuned)
    assert devices == ["cuda"] and found is not None and found["device"] == "cuda"
    assert (
        told[-1][0]
        == told[-1][1]
        == len(read_data(folder / "tones.csv").select(split="test").clips)
    )


def test_untuned_answers_are_in_the_models_order_of_classes(folder, tmp_path) -> None:
    """A head that stayed at the start has its own order, the data's is that of the alphabet."""
    grid = read_grid(folder / "small.yaml")
    untuned, results = with_baseline(grid, tmp_path), ResultFolder(tmp_path)
    run_grid(grid, tmp_path, lambda cell: Silent(), [untuned.name])
    test = read_data(folder / "tones.csv").select(split="test").clips
    with np.load(results.outputs(untuned)) as file:
        assert results.result(untuned)["labels"] == LABELS
        truth = [LABELS.index(clip.labels[0]) for clip in test]
        assert file["truth"].argmax(1).tolist() == truth
        model = spectrim.load(results.run_of("baseline/ast-tones/0") / "last")
        with torch.inference_mode():
            logits = model(*model.features([clip.path for clip in test]))
        probabilities = logits.softmax(1).numpy()
        assert file["last_top"][0].tolist() == probabilities.argmax(1).tolist()
        np.testing.assert_allclose(file["last_probability"][0], probabilities.max(1), atol=2.1e-3)
        ranks = [(row > row[label]).sum() for row, label in zip(probabilities, truth, strict=True)]
        assert file["last_rank"][0].tolist() == ranks
    assert not any(name.startswith("best") for name in file.files)
