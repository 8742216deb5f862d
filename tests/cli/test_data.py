"""`spectrim data` as a person or a program would call it."""

from __future__ import annotations

import json

import pytest

from data import trees


@pytest.mark.parametrize("command", ["data prepare", "data stats"])
def test_help_has_an_example(run, command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: spectrim {command}" in " ".join(done.stdout.split())


def test_prepare_prints_paths_and_says_what_there_is(run, tmp_path):
    trees.esc10(tmp_path / "esc")
    done = run("data", "prepare", "esc10", "esc", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["out/esc10.csv", "out/esc10-mixtures.csv"]
    assert "esc10: 12 clips (fold 1 6, fold 2 6)" in done.stderr


def test_prepare_names_what_is_missing_and_ends_with_1(run, tmp_path):
    folder = trees.speechcommands(tmp_path / "sc")
    for path in (folder / "bed").glob("[af]*"):
        path.unlink()
    done = run("data", "prepare", "speechcommands", "sc", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.split() == ["out/speechcommands.csv"]
    said = " ".join(done.stderr.split())
    assert "2 clips of the corpus are missing" in said
    assert "left out: bed/a1b2c3d4_nohash_0.wav, bed/ffffffff_nohash_0.wav." in said
    assert "out/speechcommands-missing.txt" in said
    listed = (tmp_path / "out" / "speechcommands-missing.txt").read_text().splitlines()
    assert listed == ["bed/a1b2c3d4_nohash_0.wav", "bed/ffffffff_nohash_0.wav"]


def test_prepare_json(run, tmp_path):
    trees.voxceleb1(tmp_path / "vox")
    words = ("data", "prepare", "voxceleb1", "vox", "--out", "out", "--format", "json")
    done = run(*words, cwd=tmp_path)
    assert done.stdout.split() == [f"out/voxceleb1-{part}.json" for part in
                                   ("test", "train", "valid")]  # fmt: skip
    (row,) = json.loads((tmp_path / "out" / "voxceleb1-test.json").read_text())["data"]
    assert row["labels"] == "id10270" and row["wav"].startswith(str(tmp_path))


def test_wrong_folders_end_with_2(run, tmp_path):
    trees.esc10(tmp_path / "esc")
    for words, said in (
        (("voxceleb1", "esc", "--out", "out"), "iden_split.txt: No such file"),
        (("esc10", "esc", "--out", "esc/out"), "inside the folder of the corpus"),
        (("esc10", "esc", "--out", "out", "--format", "xml"), "xml"),
    ):
        done = run("data", "prepare", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_stats_of_a_manifest_a_folder_and_a_part(run, tmp_path):
    trees.voxceleb1(tmp_path / "vox")
    run("data", "prepare", "voxceleb1", "vox", "--out", "out", cwd=tmp_path)
    run("data", "prepare", "voxceleb1", "vox", "--out", "out", "--format", "json", cwd=tmp_path)
    rows = []
    for words in (
        ("out/voxceleb1.csv", "--json"),
        ("vox", "--format", "json"),
        ("out/voxceleb1.csv", "--json", "--split", "train"),
        ("out/voxceleb1-train.json", "--json"),
    ):
        done = run("data", "stats", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows.extend(json.loads(done.stdout)["rows"])
    whole, folder, part, listed = rows
    assert whole["clips"] == folder["clips"] == 4 and part["clips"] == listed["clips"] == 2
    assert whole["mean"] == pytest.approx(folder["mean"]) and part["mean"] == listed["mean"]
    assert whole["classes"] == {"id10001": 2, "id10270": 1, "id11251": 1}
    assert (part["split"], listed["split"]) == ("train", None)
    assert whole["seconds"] == pytest.approx(0.2) and whole["format_version"] == 1
    done = run("data", "stats", "out/voxceleb1.csv", cwd=tmp_path)
    assert "class id10001" in done.stdout and f"{whole['mean']:.4f}" in done.stdout
    done = run("data", "stats", "out/voxceleb1.csv", "--fold", "3", cwd=tmp_path)
    assert done.returncode == 2 and "no column fold" in done.stderr


def test_stats_skip_what_cannot_be_read_and_end_with_1(run, tmp_path):
    trees.sound(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    done = run("data", "stats", ".", "--json", cwd=tmp_path)
    assert done.returncode == 1 and "b.wav: not readable" in " ".join(done.stderr.split())
    (row,) = json.loads(done.stdout)["rows"]
    assert row["clips"] == 1 and row["failures"][0]["file"] == "b.wav"
