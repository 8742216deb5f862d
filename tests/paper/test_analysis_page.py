"""The findings page: verdicts follow the numbers, by hand and from real runs."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
from PIL import Image

from sounds import burst, manifest, noise
from spectrim.analysis.ablation.ablate import ablate
from spectrim.analysis.ablation.ablation_files import save_ablations
from spectrim.analysis.analyze import AnalysisSettings, analyze
from spectrim.analysis.tidy_tables import analysis_record
from spectrim.assets.published import paper_loss
from spectrim.common.errors import SpectrimError
from spectrim.common.files import save_json
from spectrim.paper import analysis_page
from spectrim.paper.analysis_files import small_png
from spectrim.paper.findings import Case, Finding, Material

YES, NO, OPEN = "shows", "contradicts", "cannot tell"


@pytest.mark.parametrize(
    ("difference", "error", "verdict"),
    [
        (0.21, 0.1, YES),
        (0.2, 0.1, OPEN),
        (-0.19, 0.1, OPEN),
        (-0.21, 0.1, NO),
        (0.1, 0.0, YES),
        (0.0, 0.0, OPEN),
        (0.5, None, OPEN),
        (None, None, OPEN),
        (0.5, float("nan"), OPEN),
    ],
)
def test_no_trend_under_two_standard_errors(difference, error, verdict):
    assert Case("x", "", "", difference, error).verdict == verdict


@pytest.mark.parametrize(
    ("signs", "verdict"),
    [
        ("", "cannot be tested: no model."),
        ("+", "shows"),
        ("++", "shows (all 2)"),
        ("-", NO),
        ("00", "cannot tell (all 2)"),
        ("+0", "shows in 1, cannot tell in 1 (of 2)"),
        ("-0", "contradicts in 1, cannot tell in 1 (of 2)"),
        ("+-", "mixed: shows in 1, contradicts in 1 (of 2)"),
    ],
)
def test_cases_together(signs, verdict):
    cases = [Case("x", "", "", {"+": 1.0, "-": -1.0, "0": 0.1}[sign], 0.1) for sign in signs]
    assert Finding("t", "how", cases, "no model.").verdict == verdict


def test_groups_are_judged_apart():
    cases = [Case("x", "", "", 1.0, 0.1, "paper"), Case("y", "", "", -1.0, 0.1, "tau-b")]
    assert Finding("t", "how", cases, "").verdict == "paper: shows; tau-b: contradicts"


def test_a_model_that_guesses_has_nothing_to_lose(material):
    """Ten clips of five classes: three right are within two errors of chance, eight are not."""
    for value, count in ((0.3, 0), (0.8, 2)):
        for row in material.ablation["rows"]:
            row |= {
                "metric": "accuracy",
                "value": value,
                "error": (value * (1 - value) / 10) ** 0.5,
            }
        assert len(material.contrasts()) == count
        assert ("cannot be tested" in by_title(material, "Dropping loud").verdict) == (count == 0)
        text = analysis_page.text_of(
            material, analysis_page.all_findings(material), {}, "x", "page"
        )
        assert ("one on x is not clearly above chance" in text) == (count == 0)


def test_published_losses_are_those_of_table_4():
    high = (54.5, 57.13, 67.66, 79.65, 82.24, 90.93)
    assert paper_loss("AST", "ESC-50", "high") == pytest.approx(95.05 - np.mean(high))


@pytest.fixture(scope="module")
def ran(make, tmp_path_factory):
    """Folders of both commands for an AST and an AudioMAE of random weights; figures are blank."""
    root = tmp_path_factory.mktemp("ran")
    waves = [burst(300 * 2**n, 0.2 * n, 0.2 * n + 0.3) for n in range(4)]
    waves += [noise(1.3, level, n) for n, level in enumerate((0.5, 0.02, 0.1, 0.3))]
    waves += [noise(0.5, 0.1, 9), noise(0.7, 0.1, 9)]
    clips = manifest(root / "clips", waves)
    models = {"one": make("ast"), "two": make("audiomae")}
    settings = AnalysisSettings(examples=0, command="spectrim analyze 'it'")
    save_json(
        root / "a" / "results.json",
        analysis_record(analyze(models, {"x": clips}, settings), settings),
    )
    found = [ablate(model, name, "x", clips, after=(1, 9)) for name, model in models.items()]
    save_ablations(root / "b", found, command="spectrim ablate it")
    for name in ("fig3-x-1.png", "fig4-paper.png", "fig6-x.png", "received.png"):
        Image.new("RGB", (400, 300), "white").save(root / "a" / name)
    return root


@pytest.fixture
def material(ran):
    read = [json.loads((ran / name).read_text()) for name in ("a/results.json", "b/ablation.json")]
    return Material(*copy.deepcopy(read), frozenset())


def by_title(material, words):
    (one,) = [one for one in analysis_page.all_findings(material) if words in one.title]
    return one


def test_the_page_has_all_it_promises(ran, tmp_path):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    analysis_page.write(ran / "a", ran / "b", page, frozenset())
    text = page.read_text()
    assert text.index("spectrim analyze 'it'") < text.index("spectrim ablate it") < text.index("##")
    assert "| one | one | AST | x | general | 10 |" in text
    assert "](page/fig6-x.png)" in text
    for target in re.findall(r"\]\((page/[^)]+)\)", text):
        assert (page.parent / target).exists()
    assert text.count("**At this scale: ") == text.count("\n### ") == 11
    assert "cannot be tested: requires models of one family on general audio and on speech" in text
    tables = [path for path in (tmp_path / "docs" / "page").iterdir() if path.suffix != ".png"]
    assert {path.stem for path in tables} == {"findings", "ablation", "contrasts", "tau",
                                             "retention", "received", "clusters"}  # fmt: skip
    assert sum(path.stat().st_size for path in tables) < 100_000
    first = text
    analysis_page.write(ran / "a", ran / "b", page, frozenset())
    assert page.read_text() == first
    analysis_page.write(ran / "a", ran / "b", page, frozenset(), "Which models these are.")
    before, after = page.read_text().split("\nWhich models these are.\n")
    assert before + after == first


def test_verdicts_turn_with_the_numbers(material):
    for sign, verdict in ((1, "shows (all 2)"), (-1, f"{NO} (all 2)"), (0.01, f"{OPEN} (all 2)")):
        for row in material.ablation["contrasts"]:
            row["mean"]["high_less_low"] = {"value": 0.3 * sign, "error": 0.1}
        assert by_title(material, "Dropping loud").verdict == verdict
    for value, verdict in ((1.9, YES), (0.6, NO), (1.1, OPEN)):
        for row in material.analysis["low_ratio"]:
            row |= {"value": value, "error": 0.1}
        assert {case.verdict for case in by_title(material, "retains more").cases} == {verdict}


def test_loudness_against_number(material):
    found = by_title(material, "as many random")
    assert found.verdict == "cannot be tested: ablate was run without --random-control."
    for row in material.ablation["contrasts"]:
        for which, value in (("low", -0.2), ("high", 0.3)):
            row["mean"][f"loss_random_{which}"] = {"value": 0.25, "error": 0.01}
            row["mean"][f"{which}_less_random"] = {"value": value, "error": 0.1}
    found = by_title(material, "as many random")
    assert found.verdict == "without L: cannot tell (all 2); without H: shows (all 2)"
    assert "the same number of random patches -25.0 ±1.0" in found.cases[0].ours


def test_robustness_is_ast_less_audiomae(material):
    losses = {"AST": 0.5, "AudioMAE": 0.1}
    for row in material.ablation["contrasts"]:
        for key in ("loss_low", "loss_high"):
            row["mean"][key] = {"value": losses[row["family"]], "error": 0.1}
    low, high = by_title(material, "more robust").cases
    assert low.difference == high.difference == pytest.approx(0.4)
    assert low.error == pytest.approx(np.hypot(0.1, 0.1)) and low.verdict == YES
    assert low.ours == "AudioMAE -10.0 ±10.0, AST -50.0 ±10.0"


def test_general_audio_against_speech(material):
    (ast,) = [row for row in material.ablation["contrasts"] if row["family"] == "AST"]
    other = copy.deepcopy(ast) | {"data": "words"}
    ast["mean"]["loss_low"] = {"value": 0.2, "error": 0.03}
    other["mean"]["loss_low"] = {"value": 0.3, "error": 0.04}
    material.ablation["contrasts"].append(other)
    rows = material.ablation["rows"]
    rows.extend([row | {"data": "words"} for row in rows if row["model"] == ast["model"]])
    told = Material(material.analysis, material.ablation, frozenset({"words"}))
    (case,) = by_title(told, "general audio").cases
    assert case.difference == pytest.approx(-0.1) and case.error == pytest.approx(0.05)
    assert case.verdict == OPEN and case.ours == "-20.0 ±3.0 against -30.0 ±4.0"


def test_deep_tau_is_the_lowest_of_the_second_half(material):
    for row in material.analysis["unpruned"]:
        for entry in row["tau"]:
            entry |= {"value": 0.5 + entry["block"] / 100, "error": 0.01}
            if entry["block"] in (3, 8):
                entry["value"] = -0.4 if entry["block"] == 3 else 0.3
    cases = by_title(material, "throughout the deep").cases
    assert len(cases) == 12 and {case.ours for case in cases} == {
        "lowest 0.30 ±0.01 (block 8, the paper's 9)"
    }
    assert {case.verdict for case in cases} == {YES}


def test_what_is_missing_is_said(material):
    for name in ("unpruned", "rows"):
        material.analysis[name] = [r for r in material.analysis[name] if r["family"] == "AST"]
    material.analysis["low_ratio"] = []
    for name in ("contrasts", "rows"):
        material.ablation[name] = [r for r in material.ablation[name] if r["family"] == "AST"]
    for words in ("retains more", "more robust"):
        assert by_title(material, words).verdict.startswith(
            "cannot be tested: requires an AudioMAE"
        )
    assert analysis_page.text_of(material, analysis_page.all_findings(material), {}, "x", "page")


def test_both_commands_must_have_run_alike(ran, material, tmp_path):
    material.ablation["rows"][0]["clips"] = 3
    with pytest.raises(SpectrimError, match="analyze saw 10 clips, ablate 3"):
        analysis_page.check_same_clips(material)
    material.ablation["rows"] = [r for r in material.ablation["rows"] if r["model"] == "one"]
    with pytest.raises(SpectrimError, match="only one of analyze and ablate ran two on x"):
        analysis_page.check_same_clips(material)
    with pytest.raises(SpectrimError, match="cannot read"):
        analysis_page.write(tmp_path, ran / "b", tmp_path / "p.md", frozenset())


def test_figures_get_small(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (250, 300, 3), np.uint8)).save(tmp_path / "noise.png")
    data = small_png(tmp_path / "noise.png")
    assert len(data) <= 150_000 < (tmp_path / "noise.png").stat().st_size
    with pytest.raises(SpectrimError, match="cannot be reduced to 100 bytes"):
        small_png(tmp_path / "noise.png", 100)


def test_an_error_that_is_only_rounding_gives_no_huge_number():
    shown = [analysis_page._difference(value, 1e-17) for value in (0.1, -0.1)]
    assert shown == ["above +999", "below -999"]
    assert analysis_page._difference(0.1, 0.04) == "+2.5"
