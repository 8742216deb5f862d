"""Commands use the recommended plan of a model where no pruning option is given."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch

import spectrim
from spectrim.cli.plan_options import NewPlan, options_of
from spectrim.common.errors import SpectrimError
from spectrim.models import builtin_models
from spectrim.models.presets import preset
from spectrim.models.provenance import plan_record
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.recommendation import Recommendation
from spectrim.pruning.saved_plans import Measured
from spectrim.pruning.stage import Stage

PLAN = paper_plan([0.9, 0.7, 0.3], "intensity", reduction="segments")
MEASURED = Measured("my 200 clips", 200, "accuracy", 0.95, 0.94, 0.97, 1.5)


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """A folder with the model for which a plan with three rates was measured."""
    model = spectrim.load(folder / "model")
    model.set_recommendation(Recommendation(PLAN, MEASURED))
    return model.save(tmp_path_factory.mktemp("recommended") / "measured")


def tagged(run, folder, model, *options):
    done = run("tag", "clips/0.wav", "--model", str(model), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), " ".join(done.stderr.split())


def labels_of(model, folder):
    return spectrim.tag(model, folder / "clips" / "0.wav")[0]["labels"]


def test_tag_uses_a_measured_plan_and_says_so(run, folder, measured):
    model = spectrim.load(measured)
    pruned = spectrim.prune(model, plan=PLAN)
    assert labels_of(pruned, folder) != labels_of(model, folder)
    result, notes = tagged(run, folder, measured)
    assert result["rows"][0]["labels"] == labels_of(pruned, folder)
    assert result["plan"] == plan_record(PLAN)
    assert f"pruned with the model's recommended plan: {model.recommendation}. Pass" in notes
    result, notes = tagged(run, folder, measured, "--keep-rate", "1")
    assert result["rows"][0]["labels"] == labels_of(model, folder)
    assert "recommended" not in notes


def test_tag_leaves_a_model_alone_on_which_no_plan_was_measured(run, folder, measured):
    result, notes = tagged(run, folder, folder / "model")
    assert result["plan"]["stages"] == [] and "pruned" not in notes
    # With other features than those measured with, the plan is not a measured one either.
    for frames in ("80", "auto"):
        result, notes = tagged(run, folder, measured, "--frames", frames)
        assert result["plan"]["stages"] == []
        assert "not pruned: the recommended plan (segments by intensity" in notes
        assert "was measured without the given options (frames), so its accuracy" in notes
    _, notes = tagged(run, folder, measured, "--frames", "80", "--keep-rate", "0.5")
    assert "not pruned" not in notes


def test_a_saved_plan_comes_before_the_recommended_one(run, folder, measured, tmp_path):
    for rate in (0.5, 1.0):
        pruned = spectrim.prune(spectrim.load(measured), rate)
        result, notes = tagged(run, folder, pruned.save(tmp_path / str(rate)))
        assert result["plan"] == plan_record(pruned.plan) and "recommended" not in notes


@pytest.mark.parametrize("name", ["out", pytest.param("model.onnx", marks=pytest.mark.slow)])
def test_export_writes_the_model_with_the_measured_plan(run, folder, measured, tmp_path, name):
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime", reason="it runs the exported file")
    done = run("export", str(measured), "--out", str(tmp_path / name), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["plan"] == plan_record(PLAN)
    assert "recommended plan: segments by intensity" in " ".join(done.stderr.split())
    result, notes = tagged(run, folder, tmp_path / name)
    assert result["plan"]["stages"] == plan_record(PLAN)["stages"]
    assert "pruned by" not in notes, "the plan is part of the file now"
    pruned = spectrim.prune(spectrim.load(measured), plan=PLAN)
    expected = {row["label"]: row["probability"] for row in labels_of(pruned, folder)}
    labels = {row["label"]: row["probability"] for row in result["rows"][0]["labels"]}
    assert labels == pytest.approx(expected, abs=1e-4)


def test_options_without_a_keep_rate_are_refused(run, measured):
    done = run("tag", "clips/0.wav", "--model", str(measured), "--reduction", "tome")
    assert done.returncode == 2 and "--reduction tome requires --keep-rate" in done.stderr


def test_the_list_of_models_has_accuracy_and_cost_under_the_plan(run, tmp_path, monkeypatch):
    for name in ("ast-digits", "audiomae-digits"):
        shutil.copytree(builtin_models.builtin_root() / name, tmp_path / name)
    path = tmp_path / "ast-digits" / "config.json"
    recommended = Recommendation(paper_plan(0.9, reduction="tome"), MEASURED).to_dict()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recommended_plan": recommended}))
    path = tmp_path / "audiomae-digits" / "config.json"
    config = json.loads(path.read_text())
    config.pop("recommended_plan", None)
    path.write_text(json.dumps(config))
    monkeypatch.setattr(builtin_models, "builtin_root", lambda: tmp_path)
    with_plan, without = json.loads(run("models", "--json").stdout)["rows"]
    assert with_plan["recommended_plan"] == "tome 0.9"
    assert with_plan["measured"] == MEASURED.to_dict()
    assert without["recommended_plan"] is without["measured"] is None
    lines = [re.split(r"\s{2,}", line.strip()) for line in run("models").stdout.splitlines()]
    unpruned = [
        f"{json.loads((tmp_path / name / 'card.json').read_text())['accuracy']['1.0']}%"
        for name in ("ast-digits", "audiomae-digits")
    ]
    assert lines[2][3:] == [unpruned[0], "tome 0.9", "94.0%", "67%", "FSDD test, 300 clips"]
    assert lines[3][3:] == [unpruned[1], "-", "-", "-", "FSDD test, 300 clips"]


def test_the_list_of_models_fits_100_columns(run, tmp_path, monkeypatch):
    monkeypatch.setattr("spectrim.cli.tables.terminal_width", lambda: 100)
    name = "audiomae-digits"
    shutil.copytree(builtin_models.builtin_root() / name, tmp_path / name)
    path = tmp_path / name / "config.json"
    recommended = Recommendation(paper_plan(0.9, reduction="tome"), MEASURED).to_dict()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recommended_plan": recommended}))
    monkeypatch.setattr(builtin_models, "builtin_root", lambda: tmp_path)
    table = run("models").stdout
    assert "Not shown" not in table and "tested on" in table and "audiomae-digits" in table
    assert max(map(len, table.splitlines())) <= 100


NO_TIMES = ("--no-timing", "--json")


def test_a_sweep_without_options_measures_the_recommended_plan_first(
    run, folder, measured, tmp_path
):
    words = ("sweep", "--model", str(measured), "--data", "clips.csv", "--out", str(tmp_path))
    done = run(*words, *NO_TIMES)
    assert done.returncode == 0, done.stderr
    first, recommended, *others = json.loads(done.stdout)["rows"]
    assert first["plan"]["stages"] == [] and recommended["recommended"] is True
    assert recommended["plan"] == plan_record(PLAN)
    pruned = spectrim.prune(spectrim.load(measured), plan=PLAN)
    assert recommended["gmacs"] == spectrim.macs(pruned) / 1e9
    clips = [folder / "clips" / f"{n}.wav" for n in range(4)]
    labels = [spectrim.tag(pruned, clip)[0]["labels"][0]["label"] for clip in clips]
    right = sum(a == b for a, b in zip(labels, ["low", "high"] * 2, strict=True)) / 4
    assert recommended["value"] == right
    assert [(row["score"], row["keep_rate"]) for row in others] == [
        (score, rate)
        for score in ("attention", "intensity", "variation", "random")
        for rate in (0.9, 0.7, 0.5)
    ]
    assert not any("recommended" in row for row in [first, *others])
    assert "measured: the recommended plan is segments by intensity" in done.stderr
    assert "my 200 clips" in " ".join(done.stderr.split())
    with np.load(next(tmp_path.glob("*.npz"))) as arrays:
        assert "segments-intensity-recommended" in arrays
    done = run(*words, "--no-timing")
    (line,) = (line for line in done.stdout.splitlines() if "(recommended)" in line)
    assert line.startswith("segments, intensity (recommended)") and "several" in line


@pytest.mark.parametrize(
    "options", [("--keep-rates", "0.5"), ("--scores", "intensity"), ("--reductions", "keep-top")]
)
def test_any_pruning_option_measures_what_it_names_only(run, measured, tmp_path, options):
    done = run("sweep", "--model", str(measured), "--data", "clips.csv", *NO_TIMES, *options,
               "--out", str(tmp_path))  # fmt: skip
    rows = json.loads(done.stdout)["rows"]
    assert not any("recommended" in row for row in rows) and len(rows) > 2


def test_a_sweep_of_a_saved_plan_measures_it(run, measured, folder, tmp_path):
    """It is the recommended plan where none was measured on the model; else a note says so."""
    plain = spectrim.prune(spectrim.load(folder / "model"), 0.6, "intensity", (5,))
    known = spectrim.prune(spectrim.load(measured), 0.6, "intensity", (5,))
    for model, expected in ((plain, plain.plan), (known, PLAN)):
        path = model.save(tmp_path / f"saved-{expected == PLAN}")
        done = run("sweep", "--model", str(path), "--data", "clips.csv", *NO_TIMES,
                   "--out", str(tmp_path / "out"))  # fmt: skip
        assert json.loads(done.stdout)["rows"][1]["plan"] == plan_record(expected)
        is_unused = "the saved plan (keep-top by intensity 0.6 at 5) is not used" in done.stderr
        assert is_unused == (expected == PLAN)


@pytest.fixture(scope="module")
def constant(folder, tmp_path_factory):
    """A folder with a model that gives every clip the same class, and 80 clips."""
    root = tmp_path_factory.mktemp("constant")
    # Four blocks are enough: the head alone determines the class.
    config = preset("ast-tiny", ("low", "high"), frames=64, depth=4, activation="softmax",
                    metric="accuracy")  # fmt: skip
    model = SpectrogramTransformer(config).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([1.0, 0.0]))
    lines = ["path"] + [str(folder / "clips" / f"{n % 4}.wav") for n in range(80)]
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root, model


UNEVEN = paper_plan([0.4, 0.3, 0.2], "intensity", [0, 1, 2])
QUICK = ("--no-timing", "--batch-size", "40")


def test_check_tries_the_recommended_plan_and_prints_how_to_write_it(run, constant, tmp_path):
    root, model = constant
    plan = paper_plan(0.6, reduction="tome", depth=4)
    model.set_recommendation(Recommendation(plan, MEASURED))
    model.save(tmp_path / "constant")
    words = ("check", "constant", "--data", str(root / "clips.csv"), *QUICK)
    done = run(*words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    best = result["recommendation"]
    assert result["rows"][1]["plan"] == plan_record(plan)
    assert result["recommended_plan"]["measured"] == MEASURED.to_dict()
    # All plans give the same classes, so the cheapest is best.
    assert best["recommended"] and best["gmacs"] == min(row["gmacs"] for row in result["rows"])
    assert run(*shlex.split(best["command"])[1:], cwd=tmp_path).returncode == 0
    assert spectrim.load(tmp_path / shlex.split(best["command"])[-1]).plan == plan


def test_the_page_of_check_names_the_recommended_plan(run, constant, tmp_path):
    root, model = constant
    model.set_recommendation(Recommendation(UNEVEN, MEASURED))
    model.save(tmp_path / "constant")
    (tmp_path / "few.csv").write_text("path\n" + "\n".join(["0.wav"] * 80) + "\n")
    shutil.copy((root / "clips.csv").read_text().splitlines()[1], tmp_path / "0.wav")
    done = run("check", "constant", "--data", "few.csv", *QUICK, cwd=tmp_path)
    text = " ".join(done.stdout.split())
    assert f"Recommended plan: {UNEVEN}; {MEASURED}." in text
    assert f"Recommendation: the recommended plan of the model, {UNEVEN} (" in text
    assert "spectrim.prune(model, plan=model.recommended_plan).save(FOLDER)" in text
    assert "attention (recommended)" not in text and "intensity (recommended)" in text


@pytest.mark.parametrize(
    "plan",
    [
        paper_plan(0.4, "intensity", [0, 1, 2]),
        paper_plan(0.45),
        paper_plan(0.9, reduction="tome"),
        paper_plan(0.9, "received", reduction="evit"),
        paper_plan(0.5, "random", ["input", 3]),
    ],
)
def test_options_of_a_plan_give_the_plan(plan):
    options = dict(zip(*[iter(options_of(plan, 12))] * 2, strict=True))
    new = NewPlan(
        float(options["--keep-rate"]), options.get("--score"), options.get("--blocks"),
        options["--reduction"],
    )  # fmt: skip
    model = spectrim.create("ast-tiny", frames=64, classes=2)
    assert new.apply(model).plan == plan


@pytest.mark.parametrize(
    "plan",
    [
        UNEVEN,
        Plan((Stage(3, count=5),)),
        paper_plan(0.5, seed=3),
        paper_plan(0.5, round_to=8),
        paper_plan(0.5, reduction="segments", reduction_options={"segments": 3}),
    ],
)
def test_plans_that_options_cannot_express(plan):
    assert options_of(plan, 12) is None


def test_macs_without_options_counts_the_recommended_plan(run, measured):
    rows = json.loads(run("macs", str(measured), "--json").stdout)["rows"]
    assert [row["keep_rate"] for row in rows] == [1.0, None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    pruned = spectrim.prune(spectrim.load(measured), plan=PLAN)
    assert rows[1]["recommended"] is True and rows[1]["macs"] == spectrim.macs(pruned)
    assert rows[1]["plan"] == plan_record(PLAN)
    assert not any("recommended" in row for row in [rows[0], *rows[2:]])
    done = run("macs", "ast-base", "--frames", "128")
    assert "tome 0.9 (recommended)" in done.stdout and "not measured on this model" in done.stderr
    for options in (("--keep-rates", "0.5"), ("--score", "random"), ("--reduction", "evit"),
                    ("--blocks", "3")):  # fmt: skip
        assert "(recommended)" not in run("macs", str(measured), *options).stdout


def test_bench_without_options_times_the_recommended_plan(run, measured, monkeypatch):
    given = []

    def stop(model, name, **settings):
        given.append(settings)
        raise SpectrimError("stopped by the test")

    monkeypatch.setattr("spectrim.evaluation.bench.bench.bench", stop)
    run("bench", "--model", str(measured))
    run("bench", "--model", str(measured), "--keep-rates", "0.5")
    assert [settings["recommended"] for settings in given] == [PLAN, None]
    assert [settings["keep_rates"] for settings in given] == [[1.0, 0.7, 0.5], [0.5]]


def test_analyze_without_options_shows_the_recommended_plan_first(
    run, measured, tmp_path, monkeypatch
):
    monkeypatch.setattr("spectrim.analysis.report_files.draw_all", lambda *_: [])
    words = ("analyze", "--model", str(measured), "--data", "clips.csv", "--out", str(tmp_path))
    done = run(*words, "--examples", "0", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["score"] for row in rows] == ["recommended", "attention", "intensity", "variation"]
    assert rows[0]["plan"] == plan_record(PLAN) and rows[0]["reduction"] == "segments"
    pruned = spectrim.prune(spectrim.load(measured), plan=PLAN)
    left = pruned.plan.counts(pruned.grid.count, 12, 2)[-1][1]
    assert rows[0]["patches_left"] == left
    done = run(*words, "--examples", "0", "--scores", "intensity")
    assert "recommended" not in done.stdout + done.stderr
