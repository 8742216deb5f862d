"""`spectrim models`: the list and the cards."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.models.builtin_models import builtin_names, card
from spectrim.models.presets import FAMILIES, PRESETS


def test_the_formats_fit_a_page_in_a_pipe(run) -> None:
    lines = run("models", "--formats").stdout.splitlines()
    assert 80 < max(map(len, lines)) <= 100


def test_list_and_cards(run) -> None:
    rows = json.loads(run("models", "--json").stdout)["rows"]
    assert [row["name"] for row in rows] == builtin_names()
    table = run("models").stdout
    for row in rows:
        assert row["name"] in table and f"{row['accuracy']['1.0']:.1f}%" in table
        shown = run("models", row["name"]).stdout
        assert shown.startswith(f"# {row['name']}") and row["licence"] in shown
    wrong = run("models", "ast-digit")
    assert wrong.returncode == 2 and "Did you mean 'ast-digits'" in wrong.stderr


@pytest.mark.parametrize("name", builtin_names())
def test_a_card_says_what_the_model_is(name: str) -> None:
    found, model = card(name), spectrim.load(name)
    assert found.classes == len(model.labels) and found.frames == model.config.frames
    assert found.bytes <= 5.5e6
    assert found.measured is not None and found.measured == model.recommendation.measured
    assert model.recommended_plan.stages and model.plan.stages == ()
    for part in ("Data", "Training", "Not for", "Licence", found.held_out.split()[-2]):
        assert part in found.text
    for value in found.accuracy.values():
        assert f"| {value} " in found.text
    with pytest.raises(SpectrimError):
        card(name + "s")


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from spectrim.models.builtin_models import card, builtin_names; "
        "[card(name) for name in builtin_names()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_formats_lists_every_family_with_its_licence_and_presets(run) -> None:
    rows = json.loads(run("models", "--formats", "--json").stdout)["rows"]
    assert {row["family"] for row in rows} == set(FAMILIES)
    assert {name for row in rows for name in row["presets"]} == set(PRESETS)
    table = run("models", "--formats").stdout
    for row in rows:
        for key in ("models", "sources", "licence", "verified"):
            assert row[key] and set(row[key].split()) <= set(table.split())
    assert all(name in table for name in PRESETS)
    wrong = run("models", "ast-digits", "--formats")
    assert wrong.returncode == 2 and "Leave out the name" in wrong.stderr
