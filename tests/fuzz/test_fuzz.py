"""Whatever the input, a reader gives the right result or a sentence: no traceback, crash or hang.

`-m slow` tries some inputs of each kind. `pytest -m fuzz tests/fuzz` tries others for
`SPECTRIM_FUZZ_SECONDS` (default 3600) and prints the counts. Input number N of a kind is the same
in every run. Repeat one with `echo "audio 17" | python tests/fuzz/fuzz_worker.py`
(src, tests and tests/models on PYTHONPATH).
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("fuzz_worker.py")
INPUTS = {  # number of each kind
    "audio": 60,
    "checkpoint": 12,
    "table": 25,
    "recipe": 12,
    "arguments": 12,
}
PATIENCE = 600  # seconds without an answer; the worker limits CPU time, and a wait takes none
PER_CHILD = 500  # inputs, after which a fresh child starts


class Child:
    """A worker, started anew after it has died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.count = 0

    def outcome(self, kind: str, number: int) -> str:
        if self.process is None or self.count >= PER_CHILD:
            self.close()
            self._start()
        assert self.process is not None
        self.count += 1
        has_ended = True
        try:
            self.process.stdin.write(f"{kind} {number}\n")
            self.process.stdin.flush()
            has_ended = bool(select.select([self.process.stdout.fileno()], [], [], PATIENCE)[0])
            answer = self.process.stdout.readline() if has_ended else ""
        except BrokenPipeError:
            answer = ""
        if answer:
            return answer.strip()
        self.process.kill()
        status = self.process.wait()
        self.process = None
        return f"fault: the process ended with {status}" if has_ended else "fault: no answer"

    def _start(self) -> None:
        paths = [str(TESTS), str(TESTS / "models"), *sys.path]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, WORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | environment | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        self.count = 0

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
        self.process = None


def report(faults: list[str]) -> str:
    return f"{len(faults)} faults:\n" + "\n".join(faults[:20])


@pytest.mark.slow
def test_some_inputs_of_each_kind():
    child, counts, faults = Child(), Counter(), []
    for kind, number in ((kind, n) for kind, count in INPUTS.items() for n in range(count)):
        answer = child.outcome(kind, number)
        counts[kind, answer.partition(":")[0]] += 1
        if answer not in ("right", "sentence"):
            faults.append(f"{kind} {number}: {answer}")
    child.close()
    assert not faults, report(faults)
    for kind in INPUTS:  # inputs of which all are right, or none, test little
        assert counts[kind, "sentence"] > 0, counts
    assert sum(counts[kind, "right"] for kind in INPUTS) > sum(INPUTS.values()) // 12, counts


@pytest.mark.fuzz
def test_inputs_for_as_long_as_asked():
    seconds = float(os.environ.get("SPECTRIM_FUZZ_SECONDS", 3600))
    first = int(os.environ.get("SPECTRIM_FUZZ_FIRST", 1000))
    child, counts, faults, end = Child(), Counter(), [], time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        for kind, share in INPUTS.items():
            for _ in range(share):
                number += 1
                answer = child.outcome(kind, number)
                counts[kind, answer.partition(":")[0]] += 1
                if answer not in ("right", "sentence"):
                    faults.append(f"{kind} {number}: {answer}")
                    print(faults[-1], flush=True)
    child.close()
    print(sum(counts.values()), "inputs", dict(counts), flush=True)
    assert not faults, report(faults)
