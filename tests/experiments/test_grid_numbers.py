"""What figures, differences and findings come out of finished cells that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from small_grid import plant, pretend, pretend_untuned, write_grid
from spectrim.experiments.definition import Experiment, read_grid
from spectrim.experiments.grid_numbers import Numbers
from spectrim.experiments.result_folder import ResultFolder
from spectrim.paper.findings import Case
from spectrim.paper.table1_findings import ATTENTION, SENSITIVE, findings

UNTUNED, TUNED = "untuned/{}-tones/0", "tuned/{}-tones/{}-0.5/{}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture
def grid(folder: Path, tmp_path: Path) -> Experiment:
    """AudioMAE's column has figures of the paper too."""
    text = (folder / "small.yaml").read_text()
    path = tmp_path / "both.yaml"
    path.write_text(text.replace("model: AudioMAE,", 'model: AudioMAE, paper: "AudioMAE, SPC-2",'))
    return read_grid(path)


def numbers(grid: Experiment, folder: Path) -> Numbers:
    return Numbers(grid, ResultFolder(folder))


def test_untuned_each_row_has_its_own_outputs(grid, tmp_path) -> None:
    pruned = {"attention-0.7": "1" * 8 + "00", "attention-0.5": "1" * 5 + "0" * 5,
              "variation-padded-0.5": "0001111111"}  # fmt: skip
    pretend_untuned(grid, tmp_path, UNTUNED.format("ast"), "1111111110", pruned)
    found = {
        (e.score, e.keep_rate): (round(e.value, 9), round(e.difference, 9), e.gmacs)
        for e in numbers(grid, tmp_path).entries
    }
    assert found == {
        ("attention", 0.7): (0.8, -0.1, 0.7),
        ("attention", 0.5): (0.5, -0.4, 0.5),
        ("variation-padded", 0.7): (0.9, 0.0, 0.7),
        ("variation-padded", 0.5): (0.7, -0.2, 0.5),
    }


def test_differences_of_map_are_of_map(grid, tmp_path) -> None:
    """Of cells and their controls, and of the two models, by scikit-learn's average precision."""
    rng = np.random.default_rng(0)
    truth, score = rng.random((60, 3)) < 0.4, {}
    about = {"metric": "mAP", "gmacs": 1.0, "best": {"selected_by": "valid"}}
    for strength, model in enumerate(("ast", "audiomae")):
        for kind, name in (("control", "control/{}-tones/0"), ("tuned", TUNED)):
            outputs = rng.random(truth.shape) + truth * (0.2 + 0.3 * strength)
            score[model, kind] = average_precision_score(truth, outputs, average="macro")
            cell = name.format(model, "attention", 0)
            plant(grid, tmp_path, cell, about, truth=truth, last=outputs, best=outputs)
    found = numbers(grid, tmp_path)
    ast, mae = (found.get(f"{m}-tones", "tuned", "attention", 0.5) for m in ("ast", "audiomae"))
    assert ast.value == pytest.approx(score["ast", "tuned"])
    lost = {m: score[m, "tuned"] - score[m, "control"] for m in ("ast", "audiomae")}
    assert ast.difference == pytest.approx(lost["ast"])
    assert mae.difference == pytest.approx(lost["audiomae"])
    plain = score["ast", "tuned"] - score["audiomae", "tuned"]
    assert found.gap(ast, mae).value == pytest.approx(plain)
    both = found.gap_of_differences(ast, mae)
    assert both.value == pytest.approx(lost["ast"] - lost["audiomae"])


def test_the_same_answers_of_another_seed_make_nothing_surer(grid, tmp_path) -> None:
    errors = []
    for run in range(2):
        pretend(grid, tmp_path, f"control/ast-tones/{run}", "1111111100")
        pretend(grid, tmp_path, TUNED.format("ast", "attention", run), "1111000011")
        entry = numbers(grid, tmp_path).get("ast-tones", "tuned", "attention", 0.5)
        assert (entry.runs, entry.clips) == (tuple(range(run + 1)), 10)
        errors.append((entry.error, entry.difference_error))
    assert errors[0] == pytest.approx(errors[1])


def cases(grid: Experiment, folder: Path, finding: str) -> dict[str, Case]:
    """By kind of evidence, the single case that a finding has."""
    tested = [f for f in findings(grid, numbers(grid, folder)) if f.title == finding]
    assert all(len(f.cases) <= 1 for f in tested)
    return {f.evidence: case for f in tested for case in f.cases}


def test_attention_is_better_where_it_answers_more(grid, tmp_path) -> None:
    pretend(grid, tmp_path, TUNED.format("ast", "attention", 0), "1111111110")
    pretend(grid, tmp_path, TUNED.format("ast", "variation-padded", 0), "1111110000")
    pruned = {"attention-0.5": "1111111100", "variation-padded-0.5": "1111111000"}
    pretend_untuned(grid, tmp_path, UNTUNED.format("ast"), "1" * 10, pruned)
    by_evidence = cases(grid, tmp_path, ATTENTION)
    tuned, untuned = by_evidence["fine-tuned"], by_evidence["without fine-tuning"]
    assert (tuned.gap.value, untuned.gap.value) == pytest.approx((0.9 - 0.6, 0.8 - 0.7))
    assert tuned.paper_difference == pytest.approx((97.11 - 96.74) / 100)
    assert untuned.paper_difference is None


def test_audiomae_loses_more_in_the_paper_and_without_fine_tuning(grid, tmp_path) -> None:
    for model, right in (("ast", "1111111110"), ("audiomae", "1111111000")):
        pretend(grid, tmp_path, f"control/{model}-tones/0", "1" * 10)
        pretend(grid, tmp_path, TUNED.format(model, "attention", 0), "1" * 10)
        pruned = {"attention-0.5": right}
        pretend_untuned(grid, tmp_path, UNTUNED.format(model), "1" * 10, pruned)
    found = cases(grid, tmp_path, SENSITIVE)
    tuned, untuned = found["fine-tuned"], found["without fine-tuning"]
    assert (tuned.gap.value, untuned.gap.value) == pytest.approx((0.0, 0.3 - 0.1))
    assert tuned.paper_difference == pytest.approx(((97.11 - 97.33) - (97.44 - 98.36)) / 100)
