"""Runs commands of `spectrim` in forks of one process, so that torch is imported only once.

Reads a JSON object per line from standard input: the words of a command, the folder to run it in,
and SPECTRIM_STOP_AT. Answers with a line: the status of the process (negative: killed by this
signal), how often each point of `common.hooks` was passed, and what was printed on stderr.

The server itself never runs a model, because a process that has run one must not fork.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["SPECTRIM_SAVE_EVERY"] = "0"  # as many writes as possible

MODULES = (
    "torch",
    "soundfile",
    "accelerate",
    "matplotlib.pyplot",
    "sklearn.metrics",
    "spectrim.cli.main",
    "spectrim.evaluation.sweep",
    "spectrim.training.run",
    "spectrim.experiments.run_grid",
    "spectrim.deploy.export",
    "spectrim.analysis.report_files",
    "spectrim.analysis.ablation.ablation_files",
    "spectrim.evaluation.bench.bench",
)


def run(job: dict[str, object], report: str) -> int:
    """The command in this process, a fork; what it printed and counted is written to `report`."""
    from spectrim.cli.main import main
    from spectrim.common import hooks

    os.chdir(str(job["folder"]))
    os.environ["SPECTRIM_STOP_AT"] = str(job["stop_at"])
    os.environ["SPECTRIM_CACHE"] = str(Path(str(job["folder"])) / "cache")
    sys.argv = ["spectrim", *map(str, job["words"])]  # type: ignore[call-overload]
    status, printed = 0, io.StringIO()
    warnings.resetwarnings()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    with open(report, "w") as file:
        json.dump({"counts": hooks._steps, "printed": printed.getvalue()}, file)
    return status


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        with tempfile.NamedTemporaryFile() as report:
            child = os.fork()
            if child == 0:
                status = 70
                try:
                    status = run(json.loads(line), report.name)
                finally:
                    os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            text = report.read().decode()
        answers.write(json.dumps({"status": status} | json.loads(text or "{}")) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
