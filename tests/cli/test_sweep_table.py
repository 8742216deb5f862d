"""What stands in a sweep's table, and under it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from spectrim.cli import tables
from spectrim.cli.output import notify, points_with_interval, progress
from spectrim.cli.sweep_table import caption, noise_note, print_rows
from spectrim.cli.tables import print_table
from spectrim.common.text import significant
from spectrim.metrics.classification import paired_difference


def rows(spread):
    head = {"clips": 4, "failed": 0, "batch_size": 2, "threads": 1, "device": "cpu",
            "dtype": "float32", "timing_rounds": 5, "timing_batch_size": 2,
            "metric": "accuracy", "model": "m"}  # fmt: skip
    plain = head | {"speedup": 1.0, "speedup_quartiles": [1.0, 1.0]}
    return [plain, *(head | {"speedup": s, "speedup_quartiles": [s, s * (1 + spread)]}
                     for s in (1.2, 1.5, 2.0))]  # fmt: skip


def test_an_interval_that_lies_askew_is_written_out():
    """Four of ten clips lost: a bare ±35 would say that the loss is one beyond doubt."""
    many, few = (np.arange(n) % 10 < 4 for n in (1000, 10))
    wide = []
    for lost in (many, few):
        truth = np.tile([True, False], (len(lost), 1))
        base, own = np.tile([1.0, 0.0], (len(lost), 1)), np.stack([~lost, lost], 1)
        wide.append(asdict(paired_difference("accuracy", own.astype(float), base, truth)))
    assert points_with_interval(wide[0]) == "-40.0 ±3.0"
    assert points_with_interval(wide[1]) == "-40.0 (-68.6 to +2.0)"


def test_shares_on_the_target_are_each_models_own():
    each = [row | {"model": name, "kept_on_target": 0.5, "all_on_target": share}
            for name, share in (("a", 0.25), ("b", 0.125)) for row in rows(0.0)]  # fmt: skip
    assert "of all patches: 25.0% (a), 12.5% (b)." in caption(each)
    assert "of all patches: 25.0%." in caption(each[:4])
    assert len(caption(each).splitlines()) == 2


def test_an_interrupted_sweep_says_of_how_many_clips():
    complete = rows(0.0)
    partial = [row | {"model": "n", "clips": 3, "failed": 1, "clips_asked": 8} for row in complete]
    assert caption(complete).startswith("4 clips; batch size 2")
    assert caption(partial).startswith("3 of 8 clips (1 could not be read); batch size 2")
    text = "4 clips (m), 3 of 8 clips (1 could not be read) (n); batch size 2"
    assert caption(complete + partial).startswith(text)


def test_three_figures_of_a_number_end_in_no_point():
    numbers = (0.0869, 1.0, 48.56, 131.4)
    assert [significant(each) for each in numbers] == ["0.0869", "1.00", "48.6", "131"]


def test_names_are_printed_as_they_are(capsys):
    print_table(["label"], [["animal:dog:bark"]], "rec:a:1.wav")
    notify("failed", "set:cat:1.wav is empty")
    said = capsys.readouterr()
    assert "animal:dog:bark" in said.out and "rec:a:1.wav" in said.out
    assert "set:cat:1.wav" in said.err


def test_without_a_terminal_progress_is_a_line_a_minute(capsys):
    now = 0.0
    bar = progress()
    bar.get_time = lambda: now
    with bar:
        task = bar.add_task("ast-digits: clips", total=600)
        for second in range(1, 300):
            now = float(second)
            bar.advance(task, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "progress: ast-digits: clips: 120 of 600, about 4 min left"
    assert len(lines) == 4 and lines[3].startswith("progress: ast-digits: clips: 480 of 600")


@pytest.mark.parametrize("spread, said", [(0.05, False), (0.4, True)])
def test_a_busy_machine_is_named(spread, said):
    text = noise_note(rows(spread))
    assert ("interquartile range is 40 % of the speed-up" in text) == said
    assert ("noisy" in text) == said


def test_one_row_has_nothing_to_scatter():
    assert noise_note(rows(0.4)[:1]) == ""


@pytest.mark.parametrize("width", [80, 100, None])
def test_a_sweep_of_long_names_fits_the_terminal_with_every_column(monkeypatch, capsys, width):
    """A table for each model, so that a model's name takes no column."""
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    names = [f"{'a-very-long-model-name' * 5}-{end}" for end in "ab"]
    measured = {"value": 0.9, "gmacs": 0.0869, "ms_per_clip": 123.45, "keep_rate": 0.5,
                "difference": {"value": -0.133, "low": -0.197, "high": -0.069},
                "agreement": {"top1": {"value": 1.0}}, "all_on_target": 0.3,
                "kept_on_target": 0.7}  # fmt: skip
    scores = (None, "attention", "intensity", "variation")
    table = [
        row | measured | {"model": name, "score": score}
        for name in names
        for row, score in zip(rows(0.0), scores, strict=True)
    ]
    print_rows(table)
    printed = capsys.readouterr().out.splitlines()
    assert "Not shown" not in "".join(printed) and "".join(printed).count(names[0]) == 1
    header = next(line for line in printed if line.startswith("score"))
    assert header.split() == ["score", "keep", "accuracy", "points", "same", "GMACs", "ms/clip",
                              "speed-up", "target"]  # fmt: skip
    assert sum("123.45" in line for line in printed) == len(table)
    assert all(len(line) <= 80 for line in printed if "123.45" in line)
