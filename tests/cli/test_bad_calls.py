"""Wrong calls: a sentence on stderr, status 2; failed items: status 1, the rest done."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import spectrim

SWEEP = ("sweep", "--model", "model", "--data", "clips.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*SWEEP, "--keep-rates", "0"), "keep rate of 0.0"),
        ((*SWEEP, "--keep-rates", "1.5"), "keep rate of 1.5"),
        ((*SWEEP, "--keep-rates", "nan"), "keep rate of nan"),
        ((*SWEEP, "--keep-rates", "high"), "--keep-rates 'high'"),
        ((*SWEEP, "--keep-rates", ","), "--keep-rates is empty"),
        ((*SWEEP, "--scores", "atention"), "Did you mean 'attention'"),
        ((*SWEEP, "--scores", "nowhere:score"), "cannot be imported"),
        ((*SWEEP, "--blocks", "3,99"), "count from 0 to 11"),
        ((*SWEEP, "--blocks", "6,3"), "in order"),
        ((*SWEEP, "--scores", "attention", "--blocks", "input"), "no attention before the first"),
        ((*SWEEP, "--fold", "7"), "no column fold"),
        ((*SWEEP, "--device", "cuda:7"), "cuda:7"),
        ((*SWEEP, "--dtype", "float12"), "float12"),
        ((*SWEEP, "--frames", "16", "--out", "clips.csv"), "clips.csv"),
        (("sweep", "--model", "model", "--data", "nowhere"), "no such file"),
        (("sweep", "--model", "ast-digts"), "ast-digits"),
        (("tag", "clips/0.wav", "--model", "nowhere"), "nowhere"),
        (("tag", "clips/0.wav", "--model", "model", "--keep-rate", "2"), "keep rate of 2.0"),
        (("tag", "clips/0.wav", "--model", "model", "--hop", "9"), "hop of 9"),
        (("tag", "clips/0.wav", "--model", "model", "--aggregate", "median"), "median"),
        (("tag", "clips/0.wav", "--model", "model", "--hop", "nan"), "hop of nan"),
        (("tag", "clips/0.wav", "--model", "model", "--load", "sdt=1"), "Did you mean 'std'"),
        (("tag", "clips/0.wav", "--model", "model", "--load", "std=x"), "not a value of std"),
        ((*SWEEP, "--scores", "broken:score"), "the score broken:score failed: ZeroDivisionError"),
        (("check", "model", "--data", "clips", "--blocks", "3,99"), "(in commands --blocks)"),
        (("macs", "ast-bsae"), "ast-base"),
        (("check", "model", "--data", "clips", "--agreement", "1.5"), "agreement of 1.5"),
        (("data", "prepare", "fsd", "clips", "--out", "x"), "Did you mean 'fsdd'"),
        (("seep",), "No such command"),
    ],
)
def test_wrong_calls_end_with_2_and_a_sentence(run, words, said):
    done = run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ("tag", "clips/0.wav", "--model", "encoder"),
        ("check", "encoder", "--data", "clips"),
        ("sweep", "--model", "encoder", "--data", "clips"),
        ("export", "encoder", "--out", "x.onnx"),
    ],
)
def test_a_model_that_was_only_pre_trained_answers_nothing(run, folder, words):
    from spectrim import create
    from spectrim.models.config import NO_CLASSES

    if not (folder / "encoder").exists():
        create("audiomae-tiny", frames=64, labels=[NO_CLASSES]).save(folder / "encoder")
    done = run(*words)
    assert done.returncode == 2
    assert "only pre-trained and has no classes yet. Fine-tune" in " ".join(done.stderr.split())


@pytest.fixture
def spoiled(folder, tmp_path):
    """A copy of the clips, with a text, an empty and a missing file among them."""
    shutil.copytree(folder / "clips", tmp_path / "clips")
    shutil.copytree(folder / "model", tmp_path / "model")
    (tmp_path / "clips" / "5.wav").write_text("no sound")
    (tmp_path / "clips" / "6.wav").write_bytes(b"")
    listed = ["path,label"] + [f"clips/{n}.wav,low" for n in (0, 5, 1, 7)]
    (tmp_path / "clips.csv").write_text("\n".join(listed) + "\n")
    return tmp_path


def test_tag_skips_bad_files_and_ends_with_1(run, spoiled):
    done = run("tag", "clips", "--model", "model", "--format", "json", cwd=spoiled)
    assert done.returncode == 1
    whole = json.loads(done.stdout)
    assert len({row["file"] for row in whole["rows"]}) == 4
    assert {f["file"] for f in whole["failures"]} == {"clips/5.wav", "clips/6.wav"}
    assert "6.wav: the file is empty" in " ".join(done.stderr.split())


def test_sweep_skips_bad_clips_and_ends_with_1(run, spoiled):
    done = run("sweep", "--model", "model", "--data", "clips.csv", "--keep-rates", "0.5",
               "--scores", "attention", "--rounds", "1", "--json", cwd=spoiled)  # fmt: skip
    assert done.returncode == 1, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["clips"], row["failed"]) for row in rows] == [(2, 2), (2, 2)]
    assert "7.wav: no such file" in " ".join(done.stderr.split())


def test_sweep_of_nothing_readable_ends_with_2(run, spoiled):
    (spoiled / "clips.csv").write_text("path\nclips/5.wav\n")
    done = run("sweep", "--model", "model", "--data", "clips.csv", cwd=spoiled)
    assert done.returncode == 2 and "none of its 1 clips could be read" in done.stderr


def test_a_damaged_model_is_named(run, spoiled):
    weights = spoiled / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = run("tag", "clips/0.wav", "--model", "model", cwd=spoiled)
    assert done.returncode == 2 and "model.safetensors" in done.stderr
    (spoiled / "model" / "config.json").write_text("{")
    done = run("tag", "clips/0.wav", "--model", "model", cwd=spoiled)
    assert done.returncode == 2 and "not valid JSON" in done.stderr


TIMES = ("ms_per_clip", "speedup", "speedup_quartiles", "timing_batch_size")


def test_interrupted_sweeps_go_on(folder, tmp_path, run, run_until):
    """Ctrl-C among the second model's clips, then in timing: status 130, nothing done is lost.

    One thread, because the last bits of a result depend on their number.
    """
    shutil.copytree(folder / "model", tmp_path / "second")
    lines = ["path"] + [str(folder / "clips" / f"{n % 4}.wav") for n in range(20)]
    (tmp_path / "many.csv").write_text("\n".join(lines) + "\n")
    words = ["sweep", "--model", str(folder / "model"), "--model", "second", "--data", "many.csv",
             "--scores", "attention", "--keep-rates", "0.5", "--rounds", "1", "--json",
             "--threads", "1"]  # fmt: skip
    out = tmp_path / "spectrim-sweep"

    def interrupt(point: str) -> tuple[str, list[dict]]:
        stopped = run_until(point, *words, cwd=tmp_path)
        assert stopped.returncode == 130 and "Traceback" not in stopped.stderr, stopped.stderr
        assert "same command" in stopped.stderr and "estimate: about" in stopped.stderr
        assert not (out / "results.json").exists()
        printed = json.loads(stopped.stdout)
        assert printed["stopped"] is True
        return stopped.stderr, printed["rows"]

    notes, rows = interrupt("sweep:clips:30")  # 20, then 1, 3, 7, 15
    assert "resuming" not in notes
    assert [(row["model"], row["clips"], row["speedup"] is None) for row in rows] == [
        (str(folder / "model"), 20, False), (str(folder / "model"), 20, False),
        ("second", 15, True), ("second", 15, True),
    ]  # fmt: skip
    assert [row.get("clips_asked") for row in rows] == [None, None, 20, 20]
    assert len(list(out.glob(".partial-*.npz"))) == 2
    notes, rows = interrupt("sweep:rounds:2")
    assert notes.count("resuming an interrupted run") == 2
    assert [row["timing_rounds"] for row in rows] == [1, 1, 1, 1]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("20 clips are done") == 2
    assert not list(out.glob(".partial-*.npz"))
    uninterrupted = run(*words, "--out", "other", cwd=tmp_path)
    assert "resuming" not in uninterrupted.stderr
    rows, expected = (
        [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
        for rows in (json.loads(call.stdout)["rows"] for call in (done, uninterrupted))
    )
    assert rows == expected and [row["clips"] for row in rows] == [20] * 4


def test_a_model_whose_answers_are_no_numbers(run, spoiled):
    model = spectrim.load(spoiled / "model")
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    model.save(spoiled / "model")
    done = run("sweep", "--model", "model", "--data", "clips", "--rounds", "1", cwd=spoiled)
    assert done.returncode == 2 and "0.wav: the model's output is not finite" in done.stderr
    done = run("tag", "clips/0.wav", "clips/1.wav", "--model", "model", "--json", cwd=spoiled)
    assert done.returncode == 1 and json.loads(done.stdout)["rows"] == []
    assert done.stderr.count("not finite") == 2
