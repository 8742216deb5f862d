"""Claims that several processes share by a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from spectrim.common import locks as claims
from spectrim.common.errors import SpectrimError


def _grab(path: Path, turns: int, results: object) -> None:
    """Hold a claim `turns` times, and tell each time whether another process held it too."""
    done = 0
    while done < turns:
        with claims.claim(path) as mine:
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
    path.write_text(json.dumps({"host": "node-b", "pid": 1, "token": secrets.token_hex(8)}))
    then = time.time() - untouched
    os.utime(path, (then, then))


def test_a_claim_of_another_machine_is_taken_over_once_it_gives_no_sign_of_life(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cell"
    of_another_machine(path, claims.STALE / 2)
    assert claims.holder(path) == "node-b 1"
    with claims.claim(path) as mine:
        assert not mine
    of_another_machine(path, claims.STALE * 2)
    assert claims.holder(path) is None
    with claims.claim(path) as mine:
        assert mine and claims.holder(path) == f"{socket.gethostname()} {os.getpid()}"


def test_who_was_suspended_leaves_the_claim_of_who_took_over_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell"
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claims.claim(path) as mine:
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
    assert claims.holder(path) == "node-b 1"


def test_a_claim_that_changes_hands_while_it_is_looked_at_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes find it stale; the second one's look is older than the first one's claim."""
    path = tmp_path / "cell"
    of_another_machine(path, claims.STALE * 2)
    looked = claims._is_stale

    def slow(path: Path, untouched: float) -> bool:
        found = looked(path, untouched)
        path.unlink()
        of_another_machine(path, 0)  # the inode just freed, as likely as not
        return found

    monkeypatch.setattr(claims, "_is_stale", slow)
    with claims.claim(path) as mine:
        assert not mine
    monkeypatch.undo()
    assert claims.holder(path) == "node-b 1"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SpectrimError, match=r"file.*claims: cannot be written \(Not a directory\)"),
        claims.claim(tmp_path / "file" / "claims" / "cell"),
    ):
        pass


def test_a_claim_of_a_dead_process_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    context = multiprocessing.get_context("fork")

    def die() -> None:
        claims._create(path, "token")

    worker = context.Process(target=die)
    worker.start()
    worker.join()
    assert path.exists()
    assert claims.holder(path) is None
    with claims.claim(path) as mine:
        assert mine and claims.holder(path) is not None
        with claims.claim(path) as again:
            assert not again  # this process is alive
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="starts are known from /proc")
def test_a_claim_of_an_earlier_process_of_the_same_number_is_taken_over(tmp_path: Path) -> None:
    """As in a container that was killed and starts again: each time process 1."""
    path = tmp_path / "cell"
    assert claims._create(path, "token")
    assert claims.holder(path) is not None
    about = json.loads(path.read_text())
    assert about["began"] == claims._began(os.getpid()) != claims._began(os.getppid())
    path.write_text(json.dumps(about | {"began": str(int(about["began"]) - 7)}))
    assert claims.holder(path) is None
    with claims.claim(path) as mine:
        assert mine
