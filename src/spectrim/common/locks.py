"""Claims on pieces of work that processes on one or several machines share through a folder.

A claim is a lease of `filelock`: a file that only one process can create. It records the host and
the process, and a thread of the holder touches it regularly. filelock removes the lease of a dead
process of the same machine at once. For a process of another machine, filelock measures the time
without a touch while it waits. Spectrim asks once and does not wait, so this module compares the
age of the file with the clock of the shared file system instead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from .errors import SpectrimError

HEARTBEAT = 20.0  # seconds between two touches
EXPIRY = 180.0  # seconds without a touch after which a claim is taken over


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Yield whether this process now holds `path`; the claim is released at the end.

    A holder that is suspended longer than `EXPIRY` is not notified when another process takes
    over, but it neither refreshes nor releases the new holder's claim.

    Raises:
        SpectrimError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_expired(path)
        lease = _lease(path)
        try:
            lease.acquire(timeout=0)
            is_mine = True
        except (Timeout, LeaseSettingsMismatch):
            is_mine = False
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpectrimError(
            f"cannot write {path} ({reason}). Processes need it to share work."
        ) from error
    try:
        yield is_mine
    finally:
        if is_mine:
            with contextlib.suppress(OSError):
                lease.release()


def holder(path: Path) -> str | None:
    """Who holds a claim, as "host process"; None if nobody does, or the holder is gone."""
    owner = _lease(path).owner
    try:
        if owner is None or _age(path) > EXPIRY:
            return None
    except OSError:  # released in this moment
        return None
    host = owner.hostname.partition("?")[0]  # filelock marks the containers of a host by "?..."
    if host == socket.gethostname():
        try:
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:  # a process of another user
            pass
    return f"{host} {owner.pid}"


def _lease(path: Path) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=EXPIRY, heartbeat_interval=HEARTBEAT)


def _remove_expired(path: Path) -> None:
    """Remove a claim that is expired, unless it changes hands while it is examined."""
    try:
        before = _content(path)
        if _age(path) <= EXPIRY:
            return
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        os.rename(path, aside)  # where no other process reaches it
    except FileNotFoundError:  # nobody holds it, or another process has just removed it
        return
    try:
        if _content(aside) != before:  # the claim of a new holder: put it back
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
    finally:
        aside.unlink()


def _content(path: Path) -> tuple[bytes, int]:
    """Whose claim it is and when it was touched; the inode may be reused by another file."""
    return path.read_bytes(), path.stat().st_mtime_ns


def _age(path: Path) -> float:
    """Seconds since the last touch, by the clock of the folder's file system."""
    touched = path.stat().st_mtime
    probe = path.with_name(f".{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - touched
    except OSError:
        return time.time() - touched
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
