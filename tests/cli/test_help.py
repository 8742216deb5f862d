"""`--help` of every command."""

from __future__ import annotations

from parameters import each_value
from spectrim.cli.main import COMMANDS

SUBCOMMANDS = ["data prepare", "data stats", "grid list", "grid run", "grid report"]


@each_value(command=[*COMMANDS, *SUBCOMMANDS], width=["80", "100"])
def test_help_fits_the_terminal_and_ends_with_an_example(run, monkeypatch, command, width):
    monkeypatch.setenv("COLUMNS", width)
    done = run(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= int(width) for line in done.stdout.splitlines())
    assert f"Example: spectrim {command}" in " ".join(done.stdout.split())
