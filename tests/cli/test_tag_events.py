"""`spectrim tag --events` and `--thresholds`: the command around `find_events`."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter

import matplotlib.image
import numpy as np
import pytest
import soundfile

import spectrim
from spectrim.common import hooks
from written_tables import read_table, skip_without_pyarrow

RATE = 16_000
CALL = ("tag", "long.wav", "--model", "ast-digits", "--keep-rate", "1", "--events", "--hop", "0.5")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A recording of 12 s with bursts of noise, a silent one, and one that cannot be read."""
    root = tmp_path_factory.mktemp("events")
    rng = np.random.default_rng(0)
    level = np.repeat(rng.choice([0.0, 0.3], 48), RATE // 4)
    soundfile.write(root / "long.wav", level * rng.normal(0, 0.3, len(level)), RATE)
    soundfile.write(root / "b.wav", rng.normal(0, 0.01, 3 * RATE), RATE)
    (root / "bad.wav").write_text("no sound")
    return root


@pytest.fixture(scope="module")
def expected(root):
    """Events with the threshold that half of the windows' best classes reach."""
    model = spectrim.load("ast-digits")
    rows = spectrim.tag(model, root / "long.wav", top=1, hop=0.5)
    threshold = round(float(np.median([row["labels"][0]["probability"] for row in rows])), 2)
    events = spectrim.tag_events(model, root / "long.wav", thresholds=threshold, hop=0.5)
    assert 2 <= len(events) < len(rows)
    return threshold, events


def places(rows):
    return [(row["label"], float(row["start"]), float(row["end"])) for row in rows]


def test_json_csv_and_table_have_the_same_events(run, root, expected):
    threshold, events = expected
    call = (*CALL, "--threshold", threshold)
    printed = json.loads(run(*call, "--json", cwd=root).stdout)
    assert places(printed["rows"]) == places(events)
    assert list(printed["rows"][0]) == ["file", "label", "start", "end", "peak", "mean"]
    assert printed["rows"][0]["peak"] == pytest.approx(events[0]["peak"], abs=2e-6)
    assert printed["events"]["thresholds"] == threshold and printed["events"]["hop"] == 0.5
    assert printed["model"] == "ast-digits"
    rows = list(csv.DictReader(io.StringIO(run(*call, "--format", "csv", cwd=root).stdout)))
    assert places(rows) == places(events)
    text = run(*call, cwd=root).stdout
    assert len(text.strip().splitlines()) == 2 + len(events)
    assert f"{events[-1]['end']:.2f}" in text.splitlines()[-1]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_becomes_a_table_of_events_that_resumes(run, root, tmp_path, expected,
                                                         monkeypatch, suffix):  # fmt: skip
    skip_without_pyarrow(suffix)
    threshold, events = expected
    out = tmp_path / f"events.{suffix}"
    words = ("tag", ".", *CALL[2:], "--threshold", threshold, "--out", out)
    monkeypatch.setattr(hooks, "_steps", Counter())
    monkeypatch.setenv("SPECTRIM_STOP_AT", "table:files:2")
    assert run(*words, cwd=root).returncode == 130
    monkeypatch.delenv("SPECTRIM_STOP_AT")
    done = run(*words, cwd=root)
    assert done.returncode == 1 and "2 of 3 recordings are done already" in done.stderr
    rows = read_table(out)
    assert list(rows[0]) == [
        "file", "start", "end", "label", "peak", "mean", "channel", "status", "error",
    ]  # fmt: skip
    ok = [row for row in rows if row["status"] == "ok" and row["file"] == "long.wav"]
    assert places(ok) == places(events)
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["file"] == "bad.wav" and "not readable" in failed["error"]
    done = run(*words[:-4], "--threshold", "0.99", "--out", out, cwd=root)
    assert done.returncode == 2 and "started with other settings (thresholds was" in done.stderr


def test_a_recording_without_an_event_has_a_row_that_says_so(run, root, tmp_path):
    out = tmp_path / "events.csv"
    run("tag", "b.wav", *CALL[2:], "--threshold", "1", "--out", out, cwd=root)
    (row,) = read_table(out)
    assert (row["status"], row["label"], row["start"], row["end"]) == ("no event", None, 0, 3)
    done = run("tag", "b.wav", *CALL[2:], "--threshold", "1", cwd=root)
    assert done.returncode == 0 and done.stdout == ""
    note = " ".join(done.stderr.split())
    assert "b.wav: no event, because no class reaches its threshold. The closest is" in note


def test_thresholds_of_classes_from_a_file(run, root, tmp_path, expected):
    threshold, events = expected
    label = events[0]["label"]
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({label: threshold}))
    call = (*CALL, "--thresholds", path, "--threshold", "1", "--json")
    printed = json.loads(run(*call, cwd=root).stdout)
    assert places(printed["rows"]) == places(e for e in events if e["label"] == label)
    path.write_text(json.dumps({label: 0.0}))
    words = ("tag", "b.wav", "--model", "ast-digits", "--thresholds", path, "--threshold", "1")
    rows = json.loads(run(*words, "--json", cwd=root).stdout)["rows"]
    assert {entry["label"] for row in rows for entry in row["labels"]} == {label}
    path.write_text(json.dumps({"nime": 0.5}))
    done = run(*CALL, "--thresholds", path, cwd=root)
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert "not a class of the model: 'nime'. Did you mean 'nine'" in text


def test_files_of_annotation_programs(run, root, tmp_path, expected):
    threshold, events = expected
    for name in ("new/long.txt", "new/long.selections.txt"):
        done = run(*CALL, "--threshold", threshold, "--out", tmp_path / name, cwd=root)
        assert done.returncode == 0, done.stderr
    track = (tmp_path / "new" / "long.txt").read_text().splitlines()
    cells = [line.split("\t") for line in track]
    assert [(label, float(a), float(b)) for a, b, label in cells] == places(events)
    table = (tmp_path / "new" / "long.selections.txt").read_text().splitlines()
    assert len(table) == 1 + len(events) and str(root / "long.wav") in table[1]
    done = run(*CALL, "--out", tmp_path / "new" / "long.txt", cwd=root)
    assert done.returncode == 2 and "may contain corrections" in done.stderr


def test_a_timeline_is_drawn(run, root, tmp_path, expected):
    plot = tmp_path / "new" / "timeline.png"
    done = run(*CALL, "--threshold", expected[0], "--plot", plot, cwd=root)
    assert done.returncode == 0 and "written:" in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 2 + len(expected[1]), "the events are printed, too"
    assert matplotlib.image.imread(plot).shape[1] == 1500


def test_one_label_track_for_each_recording(run, root, tmp_path, expected):
    """Recordings whose track exists are left out, because the track may contain corrections."""
    threshold, events = expected
    tracks = tmp_path / "tracks"
    words = ("tag", ".", *CALL[2:], "--threshold", threshold, "--out", tracks / "{name}.txt")
    done = run(*words, "--json", cwd=root)
    assert done.returncode == 1 and "failed: bad.wav: not readable" in done.stderr
    assert sorted(path.name for path in tracks.iterdir()) == ["b.txt", "long.txt"]
    cells = [line.split("\t") for line in (tracks / "long.txt").read_text().splitlines()]
    assert [(label, float(a), float(b)) for a, b, label in cells] == places(events)
    printed = json.loads(done.stdout)["rows"]
    assert {row["file"] for row in printed} <= {"long.wav", "b.wav"}
    (tracks / "long.txt").write_text("0\t1\tcorrected\n")
    (tracks / "b.txt").unlink()
    done = run(*words, cwd=root)
    text = " ".join(done.stderr.split())
    assert f"1 of 3 files for --out {tracks}/{{name}}.txt exist and are kept" in text
    assert (tracks / "long.txt").read_text() == "0\t1\tcorrected\n" and (tracks / "b.txt").exists()


def test_files_of_recordings_with_one_name(run, root, tmp_path):
    for path in ("x/b.wav", "y/z/b.wav"):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(root / "b.wav", tmp_path / path)
    done = run("tag", "x", "y/z", *CALL[2:], "--out", "{name}.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert "x/b.wav and y/z/b.wav would both become b.txt" in " ".join(done.stderr.split())

    def tracks():
        return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt"))

    assert not tracks()
    for name, source in (("folder", "."), ("pattern", "**/*.wav")):
        done = run("tag", source, *CALL[2:], "--out", name + "/{name}.txt", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert tracks() == [
        "folder/x/b.txt",
        "folder/y/z/b.txt",
        "pattern/x/b.txt",
        "pattern/y/z/b.txt",
    ]
    shutil.rmtree(tmp_path / "folder")
    shutil.rmtree(tmp_path / "pattern")
    (tmp_path / "y" / "parts.csv").write_text("path,start,end\n../x/b.wav,0,1.5\nz/b.wav,1.5,3\n")
    done = run("tag", "y/parts.csv", *CALL[2:], "--out", "{name}.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tracks() == ["b-0-1.5.txt", "z/b-1.5-3.txt"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_timelines_beside_a_table(run, root, tmp_path, expected, monkeypatch, suffix):
    """The events drawn are those of the table, also if an earlier call computed them."""
    skip_without_pyarrow(suffix)
    threshold, events = expected
    drawn = {}

    def draw(path, sound, some, span, channel):
        drawn[path.name] = ([(e.label, e.start, e.end) for e in some], span)
        return path

    monkeypatch.setattr("spectrim.analysis.figures.timeline.draw_timeline", draw)
    table = ("tag", ".", *CALL[2:], "--threshold", threshold, "--out", tmp_path / f"e.{suffix}")
    for _ in range(2):
        done = run(*table, "--plot", tmp_path / "plots" / "{name}.png", cwd=root)
        assert done.returncode == 1, done.stderr
        assert sorted(drawn) == ["b.png", "long.png"]
        assert drawn["long.png"] == (places(events), (0, 12)) and drawn["b.png"][1] == (0, 3)
        drawn.clear()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--events", "--top", "3"), "--top applies to windows"),
        (("--events", "--aggregate", "mean"), "--aggregate applies to windows"),
        (("--events", "--wide", "--out", "a.csv"), "--wide applies to windows"),
        (("--merge-gap", "1"), "--merge-gap requires --events"),
        (("--plot", "a.png"), "--plot requires --events"),
        (("--out", "a.txt"), "label tracks contain events. Add --events."),
        (("--events", "--release", "1.5"), "release is 1.5"),
        (("--events", "--min-duration", "-1"), "min_duration is -1"),
        (("--events", "--plot", "a.gif"), "ends in .png, .pdf, .svg"),
        (("--events", "--hop", "60"), "a hop of 60 s"),
        (("--events", "--thresholds", "gone.csv"), "gone.csv: no such file"),
        (("--events", "b.wav", "--plot", "a.png"), 'pass --plot "{name}.png"'),
        (
            ("--events", "b.wav", "--plot", "p/a.png", "--out", "a.csv"),
            'pass --plot "p/{name}.png"',
        ),
        (("--events", "b.wav", "--out", "a.txt"), 'pass --out "{name}.txt"'),
        (("--events", "b.wav", "--out", "a.b.selections.txt"), '"{name}.selections.txt"'),
        (("--events", "--out", "a.txt", "--format", "csv"), "--format csv prints rows"),
        (("--wide", "--out", "a.csv", "--thresholds", "x.csv"), "leave out --top and"),
    ],
)
def test_wrong_calls_write_nothing(run, root, tmp_path, words, reason):
    for name in ("long.wav", "b.wav"):
        shutil.copy(root / name, tmp_path)
    done = run("tag", "long.wav", "--model", "ast-digits", *words, cwd=tmp_path)
    assert done.returncode == 2 and reason in " ".join(done.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.wav", "long.wav"]


def test_options_without_effect_are_named(run, root):
    words = ("tag", "b.wav", *CALL[2:], "--merge-gap", "0.2", "--min-duration", "0.5")
    text = " ".join(run(*words, cwd=root).stderr.split())
    assert "--merge-gap 0.2 merges no events, because gaps last at least the hop of 0.5 s" in text
    assert "--min-duration 0.5 removes no events" in text
