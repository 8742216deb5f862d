"""The tones task, for tests of whole runs."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from tones import write_recipe, write_tones

from spectrim.cli.main import main


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def recipe(tones: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tones)


@pytest.fixture
def spectrim(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`spectrim("train", ...)` in this process, in the test's own folder: status and output."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        out, err, status = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["spectrim", *map(str, words)])
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    status = int(end.code or 0)
            torch.set_num_threads(1)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return call
