"""`spectrim tag --out`: the command around the job that tests/deploy/recordings tests."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter

import pytest

import spectrim
from spectrim.common import hooks
from written_tables import read_table, skip_without_pyarrow

MODEL = ("--model", "model", "--top", "1")


@pytest.fixture
def clips(folder, tmp_path):
    """Four sounds and one that cannot be read."""
    shutil.copytree(folder / "clips", tmp_path / "clips")
    shutil.copytree(folder / "model", tmp_path / "model")
    (tmp_path / "clips" / "9.wav").write_text("no sound")
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_becomes_a_table(run, clips, suffix):
    skip_without_pyarrow(suffix)
    done = run("tag", "clips", *MODEL, "--out", f"new/tags.{suffix}", cwd=clips)
    assert done.returncode == 1
    assert f"new/tags.{suffix}: 5 files, 4 s of audio; 1 failed." in done.stdout
    assert "5 of 5 files, 1 failed, 4 s of audio" in done.stderr
    assert "failed: clips/9.wav: not readable as sound" in " ".join(done.stderr.split())
    rows = read_table(clips / "new" / f"tags.{suffix}")
    model = spectrim.load(clips / "model")
    expected = []
    for number in range(4):
        for row in spectrim.tag(model, clips / "clips" / f"{number}.wav", top=1):
            (label,) = row["labels"]
            expected.append((f"clips/{number}.wav", row["start"], row["end"], *label.values()))
    keys = ("file", "start", "end", "label", "probability")
    ok = [tuple(row[key] for key in keys) for row in rows if row["status"] == "ok"]
    assert [row[:4] for row in ok] == [row[:4] for row in expected]
    assert [row[4] for row in ok] == pytest.approx([row[4] for row in expected], abs=2e-6)


def test_tolerated_failures_and_a_summary_as_json(run, clips):
    words = ("tag", "clips", *MODEL, "--out", "tags.csv", "--tolerate-failures", "--json")
    done = run(*words, cwd=clips)
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert summary["rows"][0] == {
        "out": "tags.csv", "files": 5, "files_done_before": 0, "files_failed": 1,
        "audio_seconds": 4.0,
    }  # fmt: skip
    assert summary["failures"][0]["file"] == "clips/9.wav" and summary["model"] == "model"
    done = run("tag", "clips/0.wav", "gone.wav", *MODEL, "--tolerate-failures", cwd=clips)
    assert done.returncode == 0 and "failed: gone.wav: no such file" in done.stderr


def test_ctrl_c_names_the_way_to_continue(run, clips, monkeypatch):
    monkeypatch.setattr(hooks, "_steps", Counter())
    monkeypatch.setenv("SPECTRIM_STOP_AT", "table:files:2")
    done = run("tag", "clips", *MODEL, "--out", "tags.csv", cwd=clips)
    assert done.returncode == 130
    assert "interrupted; run the same command again to continue tags.csv." in done.stderr
    monkeypatch.delenv("SPECTRIM_STOP_AT")
    done = run("tag", "clips", *MODEL, "--out", "tags.csv", cwd=clips)
    assert "2 of 5 recordings are done already" in done.stderr
    assert len({row["file"] for row in read_table(clips / "tags.csv")}) == 5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--out", "tags"), "ends in .csv, .jsonl or .parquet"),
        (("--wide",), "--wide requires --out"),
        (("--wide", "--out", "a.csv", "--threshold", "0.5"), "leave out --top and --threshold"),
        (("--out", "a.csv", "--format", "csv"), "--format csv prints rows"),
        (("--out", "a.csv", "--aggregate", "median"), "expected 'maximum' or 'mean'"),
    ],
)
def test_wrong_calls_write_nothing(run, clips, words, reason):
    done = run("tag", "clips", "--model", "model", *words, cwd=clips)
    assert done.returncode == 2 and reason in done.stderr
    assert sorted(path.name for path in clips.iterdir()) == ["clips", "model"]


def test_without_pyarrow_the_ways_out_are_named(run, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "spectrim.deploy.recordings.parquet", raising=False)
    done = run("tag", "clips", "--model", "model", "--out", "a.parquet", cwd=clips)
    assert done.returncode == 2
    assert "a Parquet table requires the package pyarrow" in done.stderr


def test_another_model_or_plan_does_not_continue_a_table(run, clips):
    run("tag", "clips", *MODEL, "--out", "tags.csv", cwd=clips)
    done = run("tag", "clips", *MODEL, "--out", "tags.csv", "--keep-rate", "0.5", cwd=clips)
    assert done.returncode == 2 and "started with other settings (another plan" in done.stderr
    spectrim.create("ast-tiny", frames=64, labels=["low", "high"]).save(clips / "model")
    done = run("tag", "clips", *MODEL, "--out", "tags.csv", cwd=clips)
    assert done.returncode == 2 and "another model" in done.stderr
