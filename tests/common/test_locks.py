"""Claims that several processes share by a folder."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import time
from pathlib import Path

import pytest

from spectrim.common import locks
from spectrim.common.errors import SpectrimError


def _grab(path: Path, turns: int, results: object) -> None:
    """Hold a claim `turns` times, and tell each time whether another process held it too."""
    done = 0
    while done < turns:
        with locks.claim(path) as mine:
            if not mine:
                continue
            beside = path.with_name("held")
            try:
                beside.touch(exist_ok=False)
                time.sleep(0.002)
                beside.unlink()
                results.put("alone")  # type: ignore[attr-defined]
            except FileExistsError:
                results.put("two")  # type: ignore[attr-defined]
            done += 1


def test_two_processes_never_hold_the_same_claim(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=_grab, args=(tmp_path / "cell", 30, results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=30) for _ in range(90)]
    for worker in workers:
        worker.join()
    assert set(found) == {"alone"}
    assert list(tmp_path.iterdir()) == []  # all given back


def of_another_machine(path: Path, untouched: float) -> None:
    """A claim as the process 1 of node-b wrote it, and touched it that many seconds ago."""
    path.unlink(missing_ok=True)
    with locks.claim(path) as mine:
        assert mine
        written = path.read_text()
    assert re.search(rf"^host={socket.gethostname()}$", written, re.MULTILINE)
    text = re.sub(r"^host=.*$", "host=node-b", written, flags=re.MULTILINE)
    path.write_text(re.sub(r"^pid=.*$", "pid=1", text, flags=re.MULTILINE))
    then = time.time() - untouched
    os.utime(path, (then, then))


def test_a_claim_of_another_machine_is_taken_over_once_it_gives_no_sign_of_life(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cell"
    of_another_machine(path, locks.EXPIRY / 2)
    assert locks.holder(path) == "node-b 1"
    with locks.claim(path) as mine:
        assert not mine
    of_another_machine(path, locks.EXPIRY * 2)
    assert locks.holder(path) is None
    with locks.claim(path) as mine:
        assert mine and locks.holder(path) == f"{socket.gethostname()} {os.getpid()}"


def test_who_was_suspended_leaves_the_claim_of_who_took_over_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell"
    monkeypatch.setattr(locks, "HEARTBEAT", 0.01)
    with locks.claim(path) as mine:
        assert mine
        first = path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while path.stat().st_mtime_ns == first:  # a sign of life
            assert time.monotonic() < deadline
        path.unlink()
        of_another_machine(path, 100)
        now = path.stat().st_mtime_ns
        time.sleep(0.1)
        assert path.stat().st_mtime_ns == now
    assert locks.holder(path) == "node-b 1"


def test_a_claim_that_changes_hands_while_it_is_looked_at_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes find it stale; the second one's look is older than the first one's claim."""
    path = tmp_path / "cell"
    of_another_machine(path, locks.EXPIRY * 2)
    age = locks._age

    def slow(path: Path) -> float:
        seconds = age(path)
        path.unlink()
        of_another_machine(path, 0)  # the inode just freed, as likely as not
        return seconds

    calls = iter([slow])
    monkeypatch.setattr(locks, "_age", lambda path: next(calls, age)(path))
    with locks.claim(path) as mine:
        assert not mine
    monkeypatch.undo()
    assert locks.holder(path) == "node-b 1"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SpectrimError, match=r"file.*claims.cell \(Not a directory\)"),
        locks.claim(tmp_path / "file" / "claims" / "cell"),
    ):
        pass


def test_a_claim_of_a_dead_process_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    context = multiprocessing.get_context("fork")

    def die() -> None:
        with locks.claim(path) as mine:
            os._exit(0 if mine else 1)

    worker = context.Process(target=die)
    worker.start()
    worker.join()
    assert worker.exitcode == 0 and path.exists()
    assert locks.holder(path) is None
    with locks.claim(path) as mine:
        assert mine and locks.holder(path) is not None
        with locks.claim(path) as again:
            assert not again  # this process is alive
    assert not path.exists()
