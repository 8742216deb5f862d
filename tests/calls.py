"""A command of `spectrim` in this process, its output captured."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from spectrim.cli.main import main


def call_spectrim(words: tuple[object, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, in `folder`: its status and output, as of a process.

    A process of its own would import torch for seconds.
    """
    out, err, status, threads = io.StringIO(), io.StringIO(), 0, torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["spectrim", *map(str, words)])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                status = int(end.code or 0)
        torch.set_num_threads(threads)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
