"""Values in messages are cut at 200 characters; paths and suggested commands stay whole."""

from __future__ import annotations

import json
import shutil

import pytest

LONG = "xy" * 3000
TIMED = ("--no-timing", "--keep-rates", "0.5", "--scores", "intensity")


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    for name in ("model", "clips"):
        shutil.copytree(folder / name, place / name)
    config = json.loads((place / "model" / "config.json").read_text())
    config["model"]["activation"] = LONG
    shutil.copytree(place / "model", place / "odd-model")
    (place / "odd-model" / "config.json").write_text(json.dumps(config))
    (place / "label.csv").write_text(f"path,label\nclips/0.wav,{LONG}\n")
    (place / "start.csv").write_text(f"path,start\nclips/0.wav,{LONG}\n")
    (place / "column.csv").write_text(f"{LONG},label\nclips/0.wav,dog\n")
    (place / "thresholds.csv").write_text(f"label,threshold\n{LONG},0.5\n")
    (place / "thresholds.json").write_text(json.dumps({"dog": LONG}))
    (place / "value.yaml").write_text(f"epochs: {LONG}\n")
    (place / "key.yaml").write_text(f"{LONG}: 1\n")
    (place / "grid.yaml").write_text(f"columns: {LONG}\n")
    return place


@pytest.mark.parametrize(
    "call",
    [
        ("sweep", "--model", "model", "--data", "label.csv", *TIMED),
        ("sweep", "--model", "model", "--data", "start.csv", *TIMED),
        ("sweep", "--model", "model", "--data", "column.csv", *TIMED),
        ("sweep", "--model", "model", "--data", "clips", "--scores", LONG),
        ("sweep", "--model", "model", "--data", "clips", "--keep-rates", LONG),
        ("sweep", "--model", "model", "--data", "clips", "--blocks", LONG),
        ("sweep", "--model", "model", "--data", "clips", "--reductions", LONG),
        ("sweep", "--model", "model", "--data", "clips", "--split", LONG),
        ("sweep", "--model", "model", "--data", "clips", "--channel", LONG),
        ("tag", "clips", "--model", "odd-model"),
        ("tag", "clips", "--model", "model", "--thresholds", "thresholds.csv"),
        ("tag", "clips", "--model", "model", "--thresholds", "thresholds.json"),
        ("tag", "clips", "--model", "model", "--load", f"mean={LONG}"),
        ("tag", "clips", "--model", "model", "--load", f"{LONG}=1"),
        ("tag", "clips", "--model", "model", "--load", f"padding={LONG}"),
        ("tag", "clips", "--model", "model", "--device", LONG),
        ("tag", "clips", "--model", "model", "--dtype", LONG),
        ("tag", "clips", "--model", "model", "--frames", LONG),
        ("bench", "--model", "model", "--backends", LONG),
        ("convert", "model", "--to", LONG, "--out", "x"),
        ("train", "value.yaml"),
        ("train", "key.yaml"),
        ("train", "value.yaml", f"epochs={LONG}"),
        ("train", "value.yaml", f"{LONG}=1"),
        ("grid", "list", "grid.yaml"),
        ("data", "prepare", LONG, "clips", "--out", "x"),
    ],
    ids=lambda call: " ".join(call).replace(LONG, "LONG"),
)
def test_a_long_value_is_cut(run, place, call):
    done = run(*call, cwd=place)
    text = "".join(done.stderr.split())
    assert done.returncode == 2 and "Traceback" not in text, done.stderr
    assert "xy" * 101 not in text, len(text)
    assert len(text) < 3000


def test_paths_and_suggested_commands_are_whole(run, place):
    folder = place / ("d" * 120) / ("e" * 120)
    shutil.copytree(place / "model", folder / "model")
    done = run("tag", folder / "absent.wav", "--model", "model", cwd=place)
    assert str(folder / "absent.wav") in "".join(done.stderr.split())
    done = run("tag", "clips", "--model", folder / "absent", cwd=place)
    assert str(folder / "absent") in "".join(done.stderr.split())
    done = run(
        "check", folder / "model", "--data", "clips", "--agreement", "0.1", *TIMED, cwd=place
    )
    text = "".join(done.stdout.split())
    assert done.returncode == 0, done.stderr
    assert f"spectrimconvert{folder / 'model'}--keep-rate0.5" in text, done.stdout
