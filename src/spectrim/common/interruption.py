"""Ctrl-C that keeps what was computed: results so far, and points at which it is safe to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(KeyboardInterrupt):
    """Ctrl-C in long work, with the results so far.

    Attributes:
        result: what the interrupted function would return, of the items done before.
    """

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back while a step of a loop runs, so that no step is half done.

    Yields a function to call after each step; it raises the KeyboardInterrupt that was held back.
    A second Ctrl-C interrupts at once. Outside the main thread nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    interrupted = False

    def hold(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    def checkpoint() -> None:
        if interrupted:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield checkpoint
    finally:
        signal.signal(signal.SIGINT, previous)
    checkpoint()
