"""Options of the commands that measure time."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

TIMING = 60.0  # seconds for all timed pairs of a sweep together

timing_option = partial(typer.Option, rich_help_panel="Timing")

Rounds = Annotated[int, timing_option(min=1, help="Maximum number of timed pairs per row.")]
Budget = Annotated[
    float, timing_option(min=0, help="Time limit in seconds for the timing of all rows together.")
]
NoTiming = Annotated[bool, timing_option("--no-timing", help="Do not measure times.")]
