"""Options that were renamed: the old name still works, is hidden, and prints what to write."""

from __future__ import annotations

import json

import pytest

from spectrim.cli.commands import RENAMED

RENAMED_OPTIONS = [(c, old, new) for c, names in RENAMED.items() for old, new in names.items()]


@pytest.mark.parametrize(("command", "old", "new"), RENAMED_OPTIONS)
def test_help_shows_only_the_new_name(run, command, old, new):
    words = run(command, "--help").stdout.split()
    assert new in words and old not in words


@pytest.mark.parametrize("form", ["--one-row mean", "--one-row=mean"])
def test_an_old_name_works_and_prints_one_note(run, form):
    words = ("tag", "clips/0.wav", "--model", "model", "--format", "json")
    old, new = run(*words, *form.split()), run(*words, "--aggregate", "mean")
    assert old.returncode == 0 and json.loads(old.stdout) == json.loads(new.stdout)
    assert old.stderr.count("note: --one-row is deprecated: use --aggregate.") == 1
    assert "deprecated" not in new.stderr


def test_an_old_name_of_one_command_means_nothing_in_another(run):
    done = run("tag", "clips/0.wav", "--model", "model", "--by-lot")
    assert done.returncode == 2 and "No such option" in done.stderr


def test_the_old_load_key_works_and_prints_one_note(run):
    done = run("tag", "clips/0.wav", "--model", "model", "--json", "--load", "own_code=true")
    assert done.returncode == 0
    assert done.stderr.count("own_code is deprecated: use --load trust_code.") == 1


def test_export_to_a_folder_writes_the_weights_of_convert_and_names_it(run, tmp_path):
    words = ("model", "--keep-rate", "0.5", "--out")
    old, new = run("export", *words, tmp_path / "old"), run("convert", *words, tmp_path / "new")
    assert old.returncode == new.returncode == 0
    assert "export to a folder is deprecated: use spectrim convert." in old.stderr
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "old" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()
