"""README and docs: their Python runs, their commands parse, their links and figures are right."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

import spectrim
from spectrim.cli.main import app
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.defaults import REDUCTION_NAMES, SCORE_NAMES

RAMP = np.linspace(-0.1, 0.1, 16_000, dtype=np.float32)  # a second of sound
ROOT = Path(__file__).resolve().parents[1]
GUIDES = [
    f"docs/{name}.md"
    for name in (
        "getting-started", "prune-your-model", "train", "analyze", "deploy", "extend",
        "reproduce-the-paper",
    )
]  # fmt: skip
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *GUIDES]
CARDS = sorted((ROOT / "src/spectrim/assets/models").glob("*/card.json"))
SWEEP = ROOT / "results/sweep-pack/results.json"
NUMBERS = ROOT / "results/speed/readme-numbers.json"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def command_lines(text: str) -> Iterator[tuple[list[str], bool]]:
    """The arguments of each `spectrim` call, and whether it stands in a sentence or table."""
    text = text.replace("\\\n", " ")
    blocks = [line for line in text.splitlines() if re.match(r"( {4}|spectrim )", line)]
    for line in blocks:
        if "`" not in line and (match := re.search(r"(?:^\s*|&& |-m )spectrim (.+)", line)):
            yield shlex.split(match[1], comments=True), False
    for span in re.findall(r"`spectrim ([^`]+)`", text):
        yield shlex.split(span), True


def parse(arguments: list[str], is_mention: bool = False) -> None:
    """Parse a command line as typer does, without running the command.

    A mention in a sentence, such as `spectrim tag`, only has to name a command.

    Typer may carry its own copy of click, so groups are recognised by what they can do.
    """
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "resolve_command"):
        context = command.make_context("spectrim", list(arguments), parent=context)
        _, command, arguments = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        if is_mention and not arguments:
            return
    command.make_context(command.name, list(arguments), parent=context)


def columns_of(table_row: str) -> list[str]:
    return [cell.strip() for cell in table_row.strip().strip("|").split("|")]


def test_readme_has_fewer_than_1000_words():
    assert len(text_of("README.md").split()) < 1000


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_image_exists(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    for target in targets:
        if "://" not in target and not target.startswith("#"):
            path = (ROOT / page).parent / target.partition("#")[0]
            assert path.exists(), f"{page} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses_without_a_deprecated_option(page, capsys):
    for arguments, is_mention in command_lines(text_of(page)):
        try:
            parse(arguments, is_mention)
        except Exception as error:
            pytest.fail(f"{page}: spectrim {shlex.join(arguments)}: {error!r} {error}")
        assert "deprecated" not in capsys.readouterr().err, arguments


def test_most_pages_have_commands_to_parse():
    with_commands = [page for page in PAGES if list(command_lines(text_of(page)))]
    assert {"README.md", *GUIDES} - {"docs/extend.md"} <= set(with_commands)


@pytest.mark.parametrize("arguments", [["sweep", "--no-such-option"], ["no-such-command"], ["tag"]])
def test_a_wrong_command_does_not_parse(arguments):
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(arguments)


def test_commands_are_found_in_blocks_spans_and_after_launchers():
    text = "    pip install x && spectrim sweep  # all\n| `spectrim macs ast-base` |\n"
    text += "    accelerate launch -m spectrim train a.yaml b=1\nspectrim tag a.wav \\\n --top 3\n"
    assert list(command_lines(text)) == [
        (["sweep"], False),
        (["train", "a.yaml", "b=1"], False),
        (["tag", "a.wav", "--top", "3"], False),
        (["macs", "ast-base"], True),
    ]


def test_every_recipe_and_grid_that_a_page_names_exists():
    for page in PAGES:
        for name in re.findall(r"(?<![\w/])((?:recipes|grids|benchmarks|tools)/[\w-]+\.\w+)",
                               text_of(page)):  # fmt: skip
            if page != "CHANGELOG.md":  # a changelog may name what has gone
                assert (ROOT / name).exists(), f"{page} names {name}, which does not exist"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_the_accuracies_in_readme_are_those_of_the_cards(path):
    accuracy = json.loads(path.read_text())["accuracy"]
    row = re.search(rf"^\| `{path.parent.name}` \|.*$", text_of("README.md"), re.MULTILINE)
    assert row, f"README has no row for {path.parent.name}"
    assert columns_of(row[0])[2:] == [f"{accuracy[rate]:.1f} %" for rate in ("1.0", "0.7", "0.5")]


def test_the_speed_table_in_readme_is_the_committed_record(monkeypatch):
    pytest.importorskip("transformers", reason="the benchmark compares with transformers")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("readme_numbers")
    table = benchmark.markdown(json.loads(NUMBERS.read_text()))
    page = text_of("README.md")
    assert benchmark.filled(page, table, "readme_numbers") == page


def test_the_sweep_in_getting_started_is_the_committed_record():
    page = text_of("docs/getting-started.md")
    table = page.partition("<!-- measured: sweep -->")[2].partition("<!-- end -->")[0]
    line = r"^(\w+)(?: \(recommended\))? +([\d.]+)(?: x 3)? +([\d.]+)%"
    printed = re.findall(line, table, re.MULTILINE)
    rows = json.loads(SWEEP.read_text())["rows"]
    assert printed == [
        (name_of(row), f"{row['keep_rate']:g}" if row["keep_rate"] < 1 else "1.0",
         f"{100 * row['value']:.1f}") for row in rows
    ]  # fmt: skip


def name_of(row):
    """The first column of a row: the score, or the reduction where it needs none."""
    return row["score"] or ("unpruned" if row["keep_rate"] == 1 else row["reduction"])


@pytest.mark.parametrize("name", ["README.md", "docs/extend.md", "docs/analyze.md"])
def test_the_python_in_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL)
    assert blocks
    model = spectrim.load("ast-digits")
    names = {"spectrim": spectrim, "model": model}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
        pruned = names["pruned"]
        features, valid = pruned.features([(RAMP, 16_000)])
        assert pruned(features, valid).shape == (1, 10)
        assert spectrim.macs(pruned) < spectrim.macs(model)


def python_blocks(*contents: str) -> list[str]:
    """The blocks of Python in docs/deploy.md that contain these texts."""
    blocks = re.findall(r"```python\n(.*?)```", text_of("docs/deploy.md"), re.DOTALL)
    return [next(block for block in blocks if content in block) for content in contents]


def test_the_python_about_events_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("long.wav", np.tile(RAMP, 2), 16_000)
    labels, starts, ends = ["Dog bark", "Rain"], [0.0, 1.0], [2.0, 3.0]
    names = {"starts": starts, "ends": ends, "labels": labels, "probabilities": [[0.6, 0.1]] * 2}
    names["model"] = spectrim.create("ast-tiny", frames=128, labels=labels)
    (events,) = python_blocks("find_events")
    exec(compile(events, "docs/deploy.md", "exec"), names)
    assert [event.label for event in names["events"]] == ["Dog bark"]


@pytest.mark.slow
def test_the_python_about_export_runs(tmp_path, monkeypatch):
    """numpy and onnxruntime alone give what `load_onnx` gives. Three blocks keep it quick."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"export needs {package}: pip install {package}")
    monkeypatch.chdir(tmp_path)
    config = replace(spectrim.load("ast-digits").config, depth=3)
    monkeypatch.setattr(spectrim, "load", lambda name: SpectrogramTransformer(config))
    monkeypatch.setattr(spectrim, "prune", partial(spectrim.prune, blocks=(0, 1)))
    ours, theirs = python_blocks("spectrim.export(", "import onnxruntime")
    names = {"sound": np.tile(RAMP, 2)}
    exec(compile(ours, "docs/deploy.md", "exec"), names)
    assert names["rows"][0]["labels"] and names["values"].shape == (1, 10)
    exec(compile(theirs, "docs/deploy.md", "exec"), names)
    assert "spectrim" not in theirs and names["tags"][0] in names["labels"]
    expected = names["runner"].probabilities(names["clips"])
    np.testing.assert_allclose(names["values"], expected, atol=1e-6)


@pytest.mark.parametrize("names", [SCORE_NAMES, REDUCTION_NAMES], ids=["scores", "reductions"])
def test_the_guide_lists_every_score_and_reduction(names):
    lines = (ROOT / "docs" / "prune-your-model.md").read_text("utf-8").splitlines()
    listed = " ".join(line.split("|")[1] for line in lines if line.startswith("| `"))
    assert [name for name in names if f"`{name}`" not in listed] == []
