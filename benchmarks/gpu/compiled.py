"""Compiled models beside eager ones, at batch 128, and how long compilation takes.

Processes of their own compile all models at once and fill the compiler's cache. This process then
loads them from the cache and times them in turns, as `speed.py` does.

The ranking of a pruned model is a top-k, which inductor leaves to ATen. (Of a sort it generates a
bitonic sort in Triton, whose compilation takes minutes.)
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch
from piece import Piece
from speed import Group, Models, Subject

AST: list[Subject] = [("ast", 1.0), ("ast", 0.5), ("transformers", 1.0)]
MORE: list[Subject] = [("audiomae", 0.5), ("audiomae", 1.0), ("ast", 0.7), ("audiomae", 0.7)]
TEN: list[Subject] = [("ast", 1.0), ("ast", 0.5), ("audiomae", 0.5)]
TIMING = 35.0  # seconds that loading and timing of one group takes
BATCH = 128


def child(name: str, rate: float, stride: int, rehearsal: bool) -> None:
    """Compile one model in this process and print the seconds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    piece: Any = SimpleNamespace(rehearsal=rehearsal, device=device, left=lambda: 1e9)
    torch.manual_seed(0)
    with torch.inference_mode():
        group = Group(piece, Models(piece, stride), 1 if rehearsal else BATCH)
        group.compile([(name, rate)])
        if (name, rate) == ("ast", 1.0):
            group.front_end(compiled=True)
    print(json.dumps({"seconds": group.compile_seconds, "failed": group.failed}), flush=True)


def case_of(stride: int, subject: Subject) -> str:
    """Name of the case that compiles a model."""
    return f"stride {stride}, {subject[0]} {subject[1]}"


class Children:
    """Processes that compile one model each, and what they print."""

    def __init__(self, piece: Piece, subjects: list[tuple[int, Subject]]) -> None:
        self.piece = piece
        self.began = time.monotonic()
        self.running: dict[str, subprocess.Popen[str]] = {}
        for stride, subject in subjects:
            self._start(case_of(stride, subject), stride, subject)

    def _start(self, case: str, stride: int, subject: Subject) -> None:
        line = [sys.executable, __file__, "--child", subject[0], str(subject[1]), str(stride)]
        if self.piece.rehearsal:
            line.append("--rehearsal")
        environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "4"}
        self.running[case] = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def result(self, case: str, limit: float) -> dict[str, Any]:
        """What a child printed; it is killed when it has taken `limit` seconds from the start."""
        process = self.running[case]
        try:
            left = max(0.1, limit - (time.monotonic() - self.began))
            out, err = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {"not_compiled_within_seconds": round(time.monotonic() - self.began, 1)}
        if process.returncode:
            raise RuntimeError(err[-1500:])
        return json.loads(out.splitlines()[-1])


def timed(piece: Piece, models: Models, batch: int, subjects: list[Subject]) -> dict[str, Any]:
    """Compiled models beside the same eager ones, from the compiler's cache."""
    group = Group(piece, models, batch)
    group.compile(subjects)
    group.front_end()
    group.front_end(compiled=True)
    for subject in subjects:
        group.model(subject)
        group.model(subject, "compiled")
        group.whole(subject, "compiled")
    return group.timed() | {"compile_seconds_are": "with a filled cache"}


def main() -> None:
    """Compile, then time."""
    if "--child" in sys.argv:
        name, rate, stride = sys.argv[2:5]
        child(name, float(rate), int(stride), "--rehearsal" in sys.argv)
        return
    piece = Piece(__file__, __doc__)
    torch.manual_seed(0)
    torch._dynamo.config.recompile_limit = 64
    batch = 1 if piece.rehearsal else BATCH
    groups: list[tuple[str, int, list[Subject]]] = [("", 16, AST[:1] if piece.rehearsal else AST)]
    if not piece.rehearsal:
        groups += [(", more", 16, MORE), ("", 10, TEN)]
    subjects = [(stride, subject) for _, stride, group in groups for subject in group]
    # The compiler's cache does not outlast a machine, so an earlier compilation helps nothing.
    cases = piece.result["cases"]
    for case in [case for case in cases if case.startswith("compile ")]:
        del cases[case]
    children = Children(piece, subjects)
    # The groups' own timing needs the rest of the time.
    limit = max(30.0, piece.seconds - TIMING * len(groups)) if piece.seconds < 1e6 else 600.0
    ready: set[str] = set()
    for case in children.running:
        answer = functools.partial(children.result, case, limit)
        if (piece.case(f"compile {case}", answer, needs=-1e9) or {}).get("seconds"):
            ready.add(case)
    piece.wait_for_others()
    models = {stride: Models(piece, stride) for _, stride, _ in groups}
    with torch.inference_mode():
        for suffix, stride, group in groups:
            # A model that is not in the cache would be compiled now, in unknown time.
            cached = [subject for subject in group if case_of(stride, subject) in ready]
            measure = functools.partial(timed, piece, models[stride], batch, cached)
            piece.case(f"stride {stride}, batch {batch}{suffix}", measure, needs=15)
    piece.finish()


if __name__ == "__main__":
    main()
