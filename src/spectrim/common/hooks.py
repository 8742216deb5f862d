"""Hooks that environment variables set: how often long work is saved, and where to stop it.

`SPECTRIM_SAVE_EVERY=SECONDS` sets how often an unfinished sweep saves its predictions (default 30).

`SPECTRIM_STOP_AT=POINT:COUNT` interrupts the process as Ctrl-C does, at a known place: when the
process has passed POINT so many times. `SPECTRIM_STOP_AT=kill:POINT:COUNT` kills it instead, as a
lost power supply does. Tests of interruptions use it, so that none depends on timing. The points,
and what one step of each is:

    sweep:clips     a clip evaluated, over all models of the sweep
    sweep:rounds    a timed pair, over all models of the sweep
    bench:timings   a backend and batch size timed
    analyze:clips   a clip counted in the second pass of an analysis
    ablate:clips    a clip measured in the second pass of an ablation
    train:steps     a step of the optimiser
    file:write      a result file before its temporary file is written
    file:rename     a result file whose temporary file is complete and not yet renamed
    file:renamed    a result file after its temporary file is renamed
    state:write     a state of a training run before its folder is written
    state:part      one of the three files of a state, complete in a temporary folder
    state:rename    a state whose folder is complete and not yet renamed
    state:renamed   a state after its folder is renamed, with the older state beside it
    table:rows      rows of a recording that are appended and not yet in the journal
    table:files     a recording whose rows are in the journal
    table:finished  a finished table whose file of rows is not yet removed
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from .errors import SpectrimError

POINTS = (
    "sweep:clips",
    "sweep:rounds",
    "bench:timings",
    "analyze:clips",
    "ablate:clips",
    "train:steps",
    "file:write",
    "file:rename",
    "file:renamed",
    "state:write",
    "state:part",
    "state:rename",
    "state:renamed",
    "table:rows",
    "table:files",
    "table:finished",
)
KILL = "kill:"
_steps: Counter[str] = Counter()  # steps that this process has passed, by point


def seconds_between_saves() -> float:
    """Seconds between two saves of unfinished work."""
    return float(os.environ.get("SPECTRIM_SAVE_EVERY", 30.0))


def pass_point(point: str, steps: int = 1) -> None:
    """Count steps of a point; stop this process once `SPECTRIM_STOP_AT` is reached.

    Raises:
        SpectrimError: `SPECTRIM_STOP_AT` names no point, or no count.
    """
    text = os.environ.get("SPECTRIM_STOP_AT")
    if text is None:
        return
    stop_point, _, count = text.removeprefix(KILL).rpartition(":")
    if stop_point not in POINTS or not count.isdecimal():
        raise SpectrimError(
            f"SPECTRIM_STOP_AT is {text!r}; expected POINT:COUNT or kill:POINT:COUNT with one "
            f"of {', '.join(POINTS)}."
        )
    before = _steps[point]
    _steps[point] += steps
    if point == stop_point and before < int(count) <= _steps[point]:
        if text.startswith(KILL):
            os.kill(os.getpid(), signal.SIGKILL)
        signal.raise_signal(signal.SIGINT)
