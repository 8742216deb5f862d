"""The queue of training jobs: order, limits, resuming, and what is packed; no model is trained."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "training_queue.py"
sys.path.insert(0, str(SCRIPT.parent))

from training_queue import keep_top_classes, with_seeds  # noqa: E402

from spectrim.training.read_recipe import read_recipe  # noqa: E402
from spectrim.training.recipe import PretrainRecipe, Recipe  # noqa: E402

# Notes its start, works so many seconds, and ends with a status; after a signal it saves first.
JOB = """
import pathlib, signal, sys, time
folder, seconds, status = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
with open(folder.parent / "starts.txt", "a") as file:
    file.write(folder.name + chr(10))
def stop(*_):
    (folder / "state").write_text("saved")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
time.sleep(seconds)
(folder / "last").mkdir(exist_ok=True)
sys.exit(status)
"""


def queue(folder: Path, jobs: list[dict], *words: object) -> tuple[dict, str]:
    """Run a queue of stand-in jobs; returns the report and what was printed."""
    (folder / "audio").mkdir(exist_ok=True)
    (folder / "job.py").write_text(JOB)
    for job in jobs:
        seconds, status = job.pop("seconds", 0), job.pop("status", 0)
        own = f"{{runs}}/{job['name']}"
        job |= {"command": [str(folder / "job.py"), own, str(seconds), str(status)], "keep": False}
        job.setdefault("minutes", 1)
    text = yaml.safe_dump({"changes": [], "jobs": jobs})
    (folder / "queue.yaml").write_text(text)
    line = [sys.executable, SCRIPT, "--queue", folder / "queue.yaml", "--out", folder / "out"]
    line += ["--runs", folder / "runs", "--audio", folder / "audio", *words]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    report = json.loads((folder / "out" / "training_queue.json").read_text())
    assert done.returncode == bool(report["failed"]), done.stderr
    return report, done.stdout


def states(report: dict) -> dict[str, str]:
    return {name: job["state"] for name, job in report["jobs"].items()}


def test_jobs_run_after_those_they_need_and_others_go_on_after_a_failure(tmp_path):
    jobs = [
        {"name": "c", "needs": ["b"]},
        {"name": "b", "needs": ["a"]},
        {"name": "a", "seconds": 0.2},
        {"name": "bad", "status": 3},
        {"name": "never", "needs": ["bad"]},
        {"name": "free"},
    ]
    report, _ = queue(tmp_path, jobs, "--at-once", 2)
    assert states(report) == {
        "c": "finished", "b": "finished", "a": "finished", "bad": "failed", "never": "blocked",
        "free": "finished",
    }  # fmt: skip
    assert report["jobs"]["bad"]["exit_status"] == 3 and not report["complete"]
    starts = (tmp_path / "runs" / "starts.txt").read_text().split()
    assert sorted(starts) == ["a", "b", "bad", "c", "free"]
    assert starts.index("a") < starts.index("b") < starts.index("c")


@pytest.mark.slow  # it waits for the end of the time
def test_the_end_of_the_time_lets_a_job_save_and_the_next_occasion_goes_on(tmp_path):
    """22 s are kept for saving and packing, so of 28 s six are left for the jobs."""
    jobs = [{"name": "long", "seconds": 60}, {"name": "later", "needs": ["long"]}]
    report, _ = queue(tmp_path, [dict(job) for job in jobs], "--seconds", 28)
    assert states(report) == {"long": "stopped", "later": "waiting"}
    unpacked = tmp_path / "unpacked"
    line = [sys.executable, SCRIPT, "--unpack", tmp_path / "out", unpacked]
    subprocess.run([str(word) for word in line], check=True)
    assert (unpacked / "long" / "state").read_text() == "saved"
    jobs[0]["seconds"] = 0
    report, _ = queue(tmp_path, jobs)
    assert states(report) == {"long": "finished", "later": "finished"} and report["complete"]
    report, printed = queue(tmp_path, [{"name": "long"}, {"name": "later"}])
    assert report["complete"] and "started" not in printed  # nothing is done twice


def test_of_an_archive_without_its_end_whole_runs_are_unpacked(tmp_path):
    """As when a machine returns fewer files than were written."""
    whole, runs = io.BytesIO(), tmp_path / "runs"
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name in ("first", "second"):
            for file in ("a", "b"):
                info = tarfile.TarInfo(f"{name}/{file}")
                info.size = 30_000
                archive.addfile(info, io.BytesIO(name.encode() * 6000))
    for cut, kept in ((None, 2), (100_000, 1), (70_000, 1)):
        (tmp_path / "runs.tar.0").write_bytes(whole.getvalue()[:40_000])
        (tmp_path / "runs.tar.1").write_bytes(whole.getvalue()[40_000:cut])
        line = [sys.executable, SCRIPT, "--unpack", tmp_path, runs / str(cut)]
        done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("left out: second" in done.stderr) == (kept == 1)
        folders = sorted(path.name for path in (runs / str(cut)).iterdir())
        assert folders == ["first", "second"][:kept]
        assert (runs / str(cut) / "first" / "b").stat().st_size == 30_000


@pytest.mark.slow
def test_a_job_has_a_limit_of_its_own(tmp_path):
    jobs = [{"name": "long", "seconds": 60, "minutes": 0.01}, {"name": "short"}]
    report, _ = queue(tmp_path, jobs)
    assert states(report) == {"long": "stopped", "short": "finished"}


def test_every_job_of_the_queue_exists_and_needs_jobs_before_it():
    content = yaml.safe_load((SCRIPT.parent / "queue.yaml").read_text())
    seen = set()
    for job in content["jobs"]:
        path = job.get("train") or job.get("pretrain") or job["command"][0]
        assert (ROOT / path).is_file(), path
        assert set(job.get("needs", ())) <= seen, job["name"]
        starts = [c for c in job.get("changes", ()) if c.startswith("init={runs}")]
        assert all(start.split("/")[1] in job["needs"] for start in starts)
        seen.add(job["name"])
    assert set(content["rehearsal_jobs"]) <= seen


def test_the_recipe_of_every_job_of_the_queue_can_be_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load((SCRIPT.parent / "queue.yaml").read_text())
    for job in content["jobs"]:
        for kind, schema in (("train", Recipe), ("pretrain", PretrainRecipe)):
            if kind in job:
                changes = [*content["changes"], *job.get("changes", ())]
                # Placeholders such as {data} become plain text.
                overrides = [change.replace("{", "").replace("}", "") for change in changes]
                read_recipe(Path(job[kind]), overrides, schema)


def test_a_job_waits_for_audio_that_arrives_later_and_reads_it_as_wav(tmp_path):
    late = tmp_path / "late"
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    bring = f"""
import pathlib, soundfile, numpy as np, os
aside = pathlib.Path({str(tmp_path / "aside")!r})
aside.mkdir()
samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
soundfile.write(aside / "a.flac", samples, 16_000, "PCM_24")
(aside / "words.csv").write_text("path,label,split\\na.flac,x,train\\n")
os.rename(aside, {str(late)!r})
"""
    (tmp_path / "bring.py").write_text(bring)
    (tmp_path / "read.py").write_text("import sys; print(open(sys.argv[1]).read())")
    jobs = [
        {"name": "reader", "command": [str(tmp_path / "read.py"), "{words}"], "minutes": 1},
        {"name": "bringer", "command": [str(tmp_path / "bring.py")], "minutes": 1},
    ]
    (tmp_path / "queue.yaml").write_text(yaml.safe_dump({"changes": [], "jobs": jobs}))
    line = [sys.executable, SCRIPT, "--queue", tmp_path / "queue.yaml", "--out", tmp_path / "out"]
    line += ["--runs", tmp_path / "runs", "--scratch", tmp_path / "scratch", "--audio", late]
    subprocess.run([str(word) for word in line], check=True, capture_output=True)
    assert str(tmp_path / "scratch" / "a.wav") in (tmp_path / "runs/reader/log.txt").read_text()
    decoded = soundfile.read(tmp_path / "scratch" / "a.wav", dtype="float32")[0]
    assert np.abs(decoded - samples).max() < 2**-23


def test_further_seeds_run_last_with_a_seed_of_their_own():
    jobs = with_seeds([{"name": "a", "changes": ["x=1"], "seeds": 3}, {"name": "b"}])
    assert [job["name"] for job in jobs] == ["a", "b", "a-seed-1", "a-seed-2"]
    assert jobs[3]["changes"] == ["x=1", "seed=2"] and jobs[0]["changes"] == ["x=1"]


def test_a_sweep_keeps_the_top_class_of_every_clip(tmp_path):
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    np.savez(tmp_path / "probabilities-m.npz", names=np.array(list("abcde")), unpruned=values)
    keep_top_classes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["classes-m.npz"]
    with np.load(tmp_path / "classes-m.npz") as content:
        assert content["unpruned"].tolist() == [row.tolist().index(max(row)) for row in values]
        assert content["names"].tolist() == list("abcde")
