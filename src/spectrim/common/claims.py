"""Claims on pieces of work that several processes, on one machine or many, share by a folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

BEAT = 20.0  # seconds between signs of life
STALE = 180.0  # seconds without one after which a claim is taken over


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Yield whether this process now holds `path`; it is given back at the end.

    A claim is a file that only one process can create. Its holder touches it now and then; one
    that was not touched for `STALE` seconds, or whose process on this machine is gone, is taken
    over. The clock is that of the shared file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _create(path) and not _take_over(path):
        yield False
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


def holder(path: Path) -> str | None:
    """Who holds a claim, as "host process"; None where nobody does, or one of this machine that
    is gone."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if _is_stale(path, untouched=0.0):
            return None
        return f"{about['host']} {about['pid']}"
    except (OSError, ValueError, KeyError):
        return None


def _create(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    return True


def _take_over(path: Path) -> bool:
    """Rename a stale file away, which one process only can do, and create it anew."""
    try:
        seen = path.stat()
        if not _is_stale(path, _now(path.parent) - seen.st_mtime):
            return False
        away = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        os.rename(path, away)
    except FileNotFoundError:  # given back, or taken over by another, in this moment
        return _create(path)
    if away.stat().st_ino != seen.st_ino:  # another was faster, and this is its claim
        with contextlib.suppress(FileExistsError):
            os.link(away, path)
        away.unlink()
        return False
    away.unlink()
    return _create(path)


def _is_stale(path: Path, untouched: float) -> bool:
    with contextlib.suppress(ValueError, KeyError, TypeError):  # not written yet, or damaged
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["host"] == socket.gethostname():
            try:
                os.kill(int(about["pid"]), 0)
            except ProcessLookupError:
                return True
            except PermissionError:
                pass
    return untouched > STALE


def _now(folder: Path) -> float:
    """The time by the folder's own file system."""
    probe = folder / f".{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)
