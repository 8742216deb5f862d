"""A sweep of a model that is not better than guessing says so."""

from __future__ import annotations

import csv

import pytest

from spectrim.data.builtin import sample_pack


def test_clips_of_one_label_have_no_chance_level(run, tmp_path) -> None:
    clip = sample_pack().parent / "seven-03.ogg"
    (tmp_path / "clips.csv").write_text(f"path,label\n{clip},seven\n")
    done = run("sweep", "--model", "ast-digits", "--data", str(tmp_path / "clips.csv"),
               "--keep-rates", "0.5", "--scores", "attention", "--no-timing",
               "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "above chance" not in done.stderr


@pytest.mark.parametrize("is_shifted", [False, True])
def test_labels_of_another_meaning_are_noticed(run, tmp_path, is_shifted) -> None:
    """Every clip of the sample pack has its own label, or that of the next digit."""
    rows = list(csv.DictReader(sample_pack().read_text().splitlines()))[::8]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for row in rows:
            index = (labels.index(row["label"]) + is_shifted) % len(labels)
            writer.writerow([sample_pack().parent / row["path"], labels[index]])
    done = run("sweep", "--model", "ast-digits", "--data", str(tmp_path / "clips.csv"),
               "--keep-rates", "0.5", "--scores", "attention", "--no-timing",
               "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    notes = " ".join(done.stderr.split())
    chance = f"{1 / len(labels):.1%} for {len(labels)} labels"
    assert (f"ast-digits: accuracy is not above chance ({chance})" in notes) == is_shifted
