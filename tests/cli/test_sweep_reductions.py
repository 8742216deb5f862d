"""Several reductions and scores in one sweep, by command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import spectrim
from spectrim.evaluation import figure
from spectrim.models.build import shape_of
from spectrim.models.provenance import plan_record
from spectrim.pruning.matching import comparable_plan

PAIRS = [
    ("keep-top", "intensity"),
    ("keep-top", "value-attention"),
    ("evit", "value-attention"),  # it weighs by scores, and intensity may be negative
    ("tome", None),
    ("adjacent", None),
    ("ats", "value-attention"),
]


@pytest.fixture(scope="module")
def swept(run, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    words = ("sweep", "--model", "model", "--data", "clips.csv", "--out", str(out), "--no-timing",
             "--reductions", "keep-top,evit,tome,adjacent,ats", "--keep-rates", "0.6",
             "--scores", "intensity,value-attention")  # fmt: skip
    return out, run(*words, "--json"), run(*words)


def test_a_row_for_each_reduction_with_each_score_that_it_can_use(swept, folder):
    _, done, _ = swept
    assert done.returncode == 0, done.stderr
    unpruned, *rows = json.loads(done.stdout)["rows"]
    assert [(row["reduction"], row["score"]) for row in rows] == PAIRS
    model = spectrim.load(folder / "model")
    clips = [folder / "clips" / f"{number}.wav" for number in range(4)]
    truth = ["low", "high"] * 2
    for row, (reduction, score) in zip(rows, PAIRS, strict=True):
        plan = comparable_plan(shape_of(model.config), 0.6, score, reduction=reduction)
        pruned = spectrim.prune(model, plan=plan)
        assert row["plan"] == plan_record(plan) and row["keep_rate"] == 0.6
        assert row["gmacs"] == spectrim.macs(pruned) / 1e9 < unpruned["gmacs"]
        top = [spectrim.tag(pruned, clip)[0]["labels"][0]["label"] for clip in clips]
        assert row["value"] == np.mean([a == b for a, b in zip(top, truth, strict=True)])
    costs = [row["gmacs"] for row in rows]
    assert max(costs) < 1.08 * min(costs)  # evit holds one patch more
    assert {len(row["plan"]["stages"]) for row in rows} == {3, 12}
    assert "mean_gmacs" in rows[-1] and "mean_gmacs" not in rows[0]


def test_table_figure_and_files_name_the_reduction(swept):
    out, _, table = swept
    for method in (
        "intensity",
        "evit, value-attention",
        "tome",
        "adjacent",
        "ats, value-attention",
    ):
        assert any(line.startswith(method) for line in table.stdout.splitlines()), method
    (path,) = out.glob("*.npz")
    with np.load(path) as arrays:
        names = set(arrays)
    for reduction in ("evit", "tome", "adjacent", "ats"):
        assert any(name.startswith(reduction) for name in names), names


def test_the_figure_has_the_interval_of_each_difference(monkeypatch, tmp_path):
    """Unpruned 80 %, pruned 70 %, the difference -10 points, from -15 to -4."""
    row = {"model": "m", "metric": "accuracy", "reduction": "keep-top", "score": "attention",
           "plan": {"stages": [{}]}}  # fmt: skip
    difference = {"value": -0.1, "low": -0.15, "high": -0.04}
    unpruned = row | {"score": None, "keep_rate": 1.0, "value": 0.8, "gmacs": 2.0,
                      "plan": {"stages": []}}  # fmt: skip
    pruned = row | {"keep_rate": 0.5, "value": 0.7, "gmacs": 1.0, "difference": difference}
    figures = []
    monkeypatch.setattr(figure, "save_png", lambda path, drawn: figures.append(drawn) or path)
    figure.draw_sweep(tmp_path / "x.png", [unpruned, pruned])
    lines = [tuple(map(tuple, line.get_data())) for line in figures[0].axes[0].lines]
    assert ((1.0, 1.0), (pytest.approx(65.0), pytest.approx(76.0))) in lines


def test_the_figure_names_the_reduction(swept, monkeypatch, tmp_path):
    _, done, _ = swept
    figures = []
    monkeypatch.setattr(figure, "save_png", lambda path, drawn: figures.append(drawn) or path)
    figure.draw_sweep(tmp_path / "x.png", json.loads(done.stdout)["rows"])
    legend = {text.get_text() for text in figures[0].axes[0].get_legend().get_texts()}
    assert {"evit, value-attention", "tome", "adjacent", "ats, value-attention"} < legend
