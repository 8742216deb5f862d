"""`spectrim thresholds`: labelled clips to a file that `tag --thresholds` reads."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile

import spectrim
from spectrim.metrics.choose_threshold import choose_threshold

CALL = ("thresholds", "ast-digits", "--keep-rate", "1", "--data")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """40 clips whose labels are partly those of the model, 4 of them only in the test split."""
    root = tmp_path_factory.mktemp("thresholds")
    rng = np.random.default_rng(0)
    model = spectrim.load("ast-digits")
    rows = ["path,label,split"]
    for number in range(40):
        level = rng.choice([0.0, 0.3], 5).repeat(3200)
        soundfile.write(root / f"{number}.wav", level * rng.normal(0, 0.3, 16_000) + 0.01, 16_000)
        (row,) = spectrim.tag(model, root / f"{number}.wav", top=2)
        label = row["labels"][number % 3 == 0]["label"]
        split = "test" if number >= 36 else "validation"
        rows.append(f"{number}.wav,{'two' if split == 'test' else label},{split}")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    (root / "plain.csv").write_text("path\n0.wav\n")
    (root / "one.csv").write_text("path,label\n0.wav,two\n1.wav,two\n")
    (root / "wrong.csv").write_text("path,label\n0.wav,too\n")
    (root / "gone.csv").write_text((root / "clips.csv").read_text() + "gone.wav,two,validation\n")
    return root


def test_thresholds_of_the_validation_split(run, root, tmp_path):
    out = tmp_path / "new" / "thresholds.json"
    done = run(*CALL, "clips.csv", "--out", out, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "using split 'validation' only" in done.stderr and f"written: {out}" in done.stderr
    assert all(len(line) <= 100 for line in done.stdout.splitlines()[:3])
    saved = json.loads(out.read_text())
    assert (saved["clips"], saved["target"], saved["model"]) == (36, "F1", "ast-digits")
    model = spectrim.load("ast-digits")
    outputs = model.probabilities(model(*model.features([root / f"{i}.wav" for i in range(36)])))
    outputs = outputs.detach().numpy()
    with (root / "clips.csv").open() as file:
        labels = [row["label"] for row in csv.DictReader(file)][:36]
    assert [row["label"] for row in saved["rows"]] == [x for x in model.labels if x in labels]
    assert set(saved["left_out"]) == set(model.labels) - set(labels)
    for row in saved["rows"]:
        column = model.labels.index(row["label"])
        truth = np.array([label == row["label"] for label in labels])
        chosen = choose_threshold(outputs[:, column], truth)
        assert row["threshold"] == pytest.approx(chosen.threshold.value, abs=1e-5)
        assert row["f1"] == pytest.approx(chosen.f1.value)
        assert row["positives"] == truth.sum() and row["clips"] == 36


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_tag_reads_the_file(run, root, tmp_path, suffix):
    out = tmp_path / f"thresholds.{suffix}"
    words = (*CALL, "clips.csv", "--precision", "0.9", "--out", out, "--json")
    printed = json.loads(run(*words, cwd=root).stdout)
    thresholds = {row["label"]: row["threshold"] for row in printed["rows"]}
    assert all(row["precision"] >= 0.9 for row in printed["rows"] if row["threshold"] is not None)
    done = run("tag", "0.wav", "1.wav", "2.wav", "--model", "ast-digits", "--keep-rate", "1",
               "--thresholds", out, "--threshold", "1", "--json", cwd=root)  # fmt: skip
    rows = json.loads(done.stdout)["rows"]
    full = spectrim.tag(spectrim.load("ast-digits"), [root / f"{i}.wav" for i in range(3)], top=5)
    for row, expected in zip(rows, full, strict=True):
        assert [entry["label"] for entry in row["labels"]] == [
            entry["label"]
            for entry in expected["labels"]
            if (limit := thresholds.get(entry["label"], 1.0)) is not None
            and entry["probability"] >= limit
        ]


def test_a_clip_that_cannot_be_read_is_named(run, root, tmp_path):
    out = tmp_path / "thresholds.csv"
    done = run(*CALL, "gone.csv", "--out", out, cwd=root)
    assert done.returncode == 1 and "gone.wav" in done.stderr and out.exists()


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        ("plain.csv", (), "plain.csv: has no labels"),
        ("one.csv", (), "no class has both clips with it and clips without it"),
        ("wrong.csv", (), "label 'too' is not a class of the model. Did you mean 'two'"),
        ("clips.csv", ("--precision", "0"), "precision 0.0; expected more than 0 and at most 1"),
        ("clips.csv", ("--precision", "90"), "precision 90.0; expected more than 0 and at most 1"),
        ("clips.csv", ("--split", "train"), "no clip of split 'train'"),
    ],
)
def test_wrong_calls_write_nothing(run, root, tmp_path, data, words, reason):
    out = tmp_path / "new" / "thresholds.json"
    done = run(*CALL, data, *words, "--out", out, cwd=root)
    assert done.returncode == 2 and reason in " ".join(done.stderr.split())
    assert not out.parent.exists()
    done = run(*CALL, data, "--out", tmp_path / "a.txt", cwd=root)
    assert done.returncode == 2 and "ends in .csv or .json" in done.stderr
