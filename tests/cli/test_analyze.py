"""`spectrim analyze` and `spectrim ablate`, as a person or a program would call them."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import islice

import numpy as np
import pytest
import soundfile

from spectrim.analysis import report_files

ANALYZE = ("analyze", "--model", "model", "--data", "clips.csv")
ABLATE = ("ablate", "--model", "model", "--data", "clips.csv")
CONTEXT = ("model", "plan", "keep_rate", "batch_size", "threads", "device", "dtype", "frames",
           "versions", "format_version")  # fmt: skip


@pytest.mark.parametrize("command", ["analyze", "ablate"])
def test_help_has_an_example(run, command):
    done = run(command, "--help")
    assert f"Example: spectrim {command}" in " ".join(done.stdout.split())


def test_analyze_writes_figures_tables_and_a_report(run, tmp_path, monkeypatch):
    """Two figures stand for all; tests/analysis/test_figures.py draws the rest."""
    draw = report_files.draw_all
    monkeypatch.setattr(report_files, "draw_all", lambda *words: islice(draw(*words), 2))
    out = tmp_path / "out"
    done = run(*ANALYZE, "--out", str(out), "--examples", "1", "--scores", "attention", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers == json.loads((out / "results.json").read_text())
    (row,) = numbers["rows"]
    assert all(key in row for key in CONTEXT)
    assert (row["model"], row["data"], row["clips"]) == ("model", "clips", 4)
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "results.json", "tau.csv", "retention.csv"} <= names
    assert {"fig3-clips-1.png", "fig3-clips-1.pdf", "fig4-paper.png", "fig4-paper.pdf"} <= names
    assert not [name for name in names if name.startswith(".")]
    with (out / "tau.csv").open() as stream:
        first = next(csv.DictReader(stream))
    flat = {"model", "plan", "keep_rate", "batch_size", "threads", "device", "dtype", "frames",
            "spectrim", "torch", "format_version"}  # fmt: skip
    assert flat <= set(first)


def test_analyze_prints_tables_and_names_what_it_skips(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report_files, "draw_all", lambda *_: [])
    (tmp_path / "strange.csv").write_text(f"path,label\n{folder}/clips/0.wav,zebra\n")
    done = run(
        *ANALYZE, "--data", str(tmp_path / "strange.csv"), "--out", str(tmp_path / "o"),
        "--keep-rate", "1.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Kendall's tau" in done.stdout and "AS-20K (paper)" in done.stdout
    said = " ".join(done.stderr.split())
    assert "model is not run on strange, whose labels it does not know" in said
    assert "'zebra'" in said and "keep rate 1.0 drops nothing" in said
    (pair,) = json.loads((tmp_path / "o" / "results.json").read_text())["skipped"]
    assert (pair["model"], pair["data"], pair["unknown_labels"]) == ("model", "strange", ["zebra"])
    report = (tmp_path / "o" / "report.html").read_text()
    assert "Not run" in report and "model is not run on strange" in report


def test_bad_clips_are_reported_and_the_rest_done(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report_files, "draw_all", lambda *_: [])
    shutil.copytree(folder / "clips", tmp_path / "clips")
    (tmp_path / "clips" / "9.wav").write_text("no sound")
    model = str(folder / "model")
    for command, file in (("analyze", "results.json"), ("ablate", "ablation.json")):
        done = run(command, "--model", model, "--data", str(tmp_path / "clips"), "--json",
                   "--out", str(tmp_path / command))  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "9.wav: not readable as sound" in " ".join(done.stderr.split())
        whole = json.loads((tmp_path / command / file).read_text())
        assert whole["failures"][0]["path"].endswith("9.wav")
        assert json.loads(done.stdout)["rows"][0]["clips"] == 4


def test_ablate_writes_rows_a_table_and_a_figure(run, tmp_path):
    done = run(*ABLATE, "--out", str(tmp_path), "--after", "1,11", "--paper")
    assert done.returncode == 0, done.stderr
    assert "low (C1, C2)" in done.stdout and "clips without a patch left" in " ".join(
        done.stdout.split()
    )
    whole = json.loads((tmp_path / "ablation.json").read_text())
    rows = whole["rows"]
    assert whole["skipped"] == [] and whole["command"].startswith("spectrim ablate --model model")
    (contrast,) = whole["contrasts"]
    assert [entry["after"] for entry in contrast["blocks"]] == [1, 11]
    assert [(row["dropped"], row["after_blocks"]) for row in rows] == [
        (None, None), ("low", 1), ("low", 11), ("high", 1), ("high", 11),
    ]  # fmt: skip
    assert all(key in rows[0] for key in CONTEXT if key != "keep_rate")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ablation.json", "ablation.csv", "ablation.png", "ablation.pdf"}


def test_ablate_keeps_what_is_measured_when_a_later_set_fails(run, folder, tmp_path):
    (tmp_path / "still").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "still" / f"{number}.wav", np.zeros(16_000), 16_000)
    done = run(*ABLATE, "--data", str(tmp_path / "still"), "--out", str(tmp_path / "out"),
               "--after", "1")  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.returncode == 1 and "model on still: " in said and "silent" in said
    whole = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert {row["data"] for row in whole["rows"]} == {"clips"}
    (pair,) = whole["not_measured"]
    assert (pair["model"], pair["data"]) == ("model", "still") and "silent" in pair["error"]
    # What can be known before is refused before anything is measured.
    two = tmp_path / "two.csv"
    two.write_text(f"path,label\n{folder / 'clips' / '0.wav'},low;high\n")
    done = run(*ABLATE, "--data", str(two), "--out", str(tmp_path / "none"))
    assert done.returncode == 2 and "2 labels" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*ANALYZE, "--keep-rate", "1.5"), "keep rate of 1.5"),
        ((*ANALYZE, "--keep-rate", "nan"), "keep rate of nan"),
        ((*ANALYZE, "--scores", "atention"), "Did you mean 'attention'"),
        ((*ANALYZE, "--blocks", "3,99"), "count from 0 to 11"),
        ((*ANALYZE, "--saved-plan"), "does not prune. Give a keep rate"),
        ((*ANALYZE, "--clip", "9.wav"), "no clip called '9.wav'"),
        ((*ANALYZE, "--fold", "7"), "no column fold"),
        ((*ANALYZE, "--data", "clips", "--fold", "7"), "no manifest has a column fold"),
        ((*ANALYZE, "--out", "clips.csv"), "cannot write to the folder clips.csv"),
        ((*ABLATE, "--out", "clips.csv/x"), "cannot write to the folder"),
        ((*ABLATE, "--after", "13"), "has 12, so 0 to 12 are possible"),
        ((*ABLATE, "--after", "one"), "--after 'one'"),
        (("ablate", "--model", "model", "--data", "nowhere.csv"), "no such file"),
        (("analyze", "--model", "model"), "knows the labels of sample-pack"),
        (("ablate", "--model", "model"), "knows the labels of sample-pack"),
    ],
)
def test_wrong_calls_end_with_2_and_a_sentence(run, tmp_path, words, said):
    out = () if "--out" in words else ("--out", str(tmp_path))
    done = run(*words, *out)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["analyze", "ablate"])
def test_an_interruption_leaves_nothing_half_written(run, tmp_path, monkeypatch, command):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("spectrim.data.batches._batch", stop)
    done = run(command, "--model", "model", "--data", "clips.csv", "--out", str(tmp_path))
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert "nothing was written" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "file"), [("analyze", "results.json"), ("ablate", "ablation.json")]
)
def test_ctrl_c_prints_and_writes_the_clips_so_far(run_until, tmp_path, monkeypatch, command, file):
    monkeypatch.setattr("spectrim.analysis.report_files.draw_all", lambda *given: [])
    words = (command, "--model", "model", "--data", "clips.csv", "--batch-size", "2", "--json")
    done = run_until(f"{command}:clips:2", *words, "--out", str(tmp_path))  # of four clips
    notes = " ".join(done.stderr.split())
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert "estimate: about" in notes and "for two passes over 4 clips" in notes
    assert f"the results so far are printed and in {tmp_path}" in notes
    printed = json.loads(done.stdout)
    written = json.loads((tmp_path / file).read_text())
    assert printed["stopped"] is True and written["stopped"] is True
    assert printed["rows"] == written["rows"]
    assert {row["clips"] for row in printed["rows"] if row["clips"]} == {2}
