"""Limits of time, and Ctrl-C between two steps of a loop."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from spectrim.common.errors import SpectrimNotice
from spectrim.common.interruption import (
    InterruptedStep,
    OutOfTime,
    interrupts_between_steps,
    time_limit,
)


def wait_until(is_over):
    """Python code that ends when something has happened; signals interrupt it."""
    while not is_over():
        time.sleep(0.001)


def test_a_block_ends_at_its_limit_though_it_handles_every_exception():
    with pytest.raises(OutOfTime), time_limit(0.01):
        while True:
            with contextlib.suppress(Exception):
                wait_until(lambda: False)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_an_end_that_python_cannot_raise_prints_nothing_and_comes_again(capfd, monkeypatch):
    monkeypatch.setattr("spectrim.common.interruption.REPEAT", 0.01)
    lost = []

    class Slow:
        def __del__(self):
            try:
                wait_until(lambda: False)
            except OutOfTime:
                lost.append(True)
                raise

    with pytest.raises(OutOfTime), time_limit(0.01):
        Slow()  # its end is lost, as Python raises no error of a finaliser
        wait_until(lambda: False)
    assert lost == [True] and capfd.readouterr().err == ""


def test_a_block_in_time_is_left_alone_and_the_callers_timer_goes_on():
    alarms = []
    previous = signal.signal(signal.SIGALRM, lambda *given: alarms.append(given))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with time_limit(1000):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 100
        wait_until(lambda: alarms)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert len(alarms) == 1


def test_threads_have_no_limit():
    done = []

    def work():
        with time_limit(0.001):
            time.sleep(0.02)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_ctrl_c_waits_for_the_end_of_a_step():
    done = []
    with (
        pytest.warns(SpectrimNotice, match="finishing the current batch"),
        pytest.raises(KeyboardInterrupt),
        interrupts_between_steps() as checkpoint,
    ):
        for step in range(3):
            if step == 1:
                signal.raise_signal(signal.SIGINT)
            done.append(step)
            checkpoint()
    assert done == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    done = []
    with (
        pytest.warns(SpectrimNotice),
        pytest.raises(InterruptedStep),
        interrupts_between_steps(),
    ):
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first"]
