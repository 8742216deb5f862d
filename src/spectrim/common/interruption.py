"""Ctrl-C that keeps what was computed, points at which it is safe to stop, and limits of time."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import SpectrimNotice


class Stopped(KeyboardInterrupt):
    """Ctrl-C in long work, with the results so far.

    Attributes:
        result: what the interrupted function would return, of the items done before.
    """

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class InterruptedStep(KeyboardInterrupt):
    """A second Ctrl-C, which did not wait for the end of a step: the step is half done."""


class OutOfTime(BaseException):
    """A block of `time_limit` has taken too long; no Exception, so that no library handles it."""


REPEAT = 2.0  # seconds after which `time_limit` raises again: Python loses errors in callbacks


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block once so many seconds have passed.

    Without effect outside the main thread, and on systems without interval timers (Windows).
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def end(number: int, frame: object) -> None:
        raise OutOfTime

    previous_hook = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        """Python would print a traceback of an error that it cannot raise."""
        if not isinstance(lost.exc_value, OutOfTime):
            previous_hook(lost)

    sys.unraisablehook = hook
    previous = signal.signal(signal.SIGALRM, end)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, min(max(seconds, 1e-3), 1e6), REPEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sys.unraisablehook = previous_hook
        if left:  # the caller's own timer goes on
            left = max(left - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back while a step of a loop runs, so that no step is half done.

    Yields a function to call after each step; it raises the KeyboardInterrupt that was held back.
    A notice says that the step is finished first. A second Ctrl-C raises `InterruptedStep` at once.
    Outside the main thread nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    interrupted = False

    def hold(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise InterruptedStep
        interrupted = True
        text = "finishing the current batch. A second Ctrl-C stops at once and loses it."
        warnings.warn(SpectrimNotice(text), stacklevel=2)

    def checkpoint() -> None:
        if interrupted:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield checkpoint
    finally:
        signal.signal(signal.SIGINT, previous)
    checkpoint()
