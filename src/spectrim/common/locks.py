"""Claims on pieces of work that several processes, on one machine or many, share by a folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import SpectrimError

BEAT = 20.0  # seconds between signs of life
STALE = 180.0  # seconds without one after which a claim is taken over


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Yield whether this process now holds `path`; it is given back at the end.

    A claim is a file that only one process can create. Its holder touches it now and then; one
    that was not touched for `STALE` seconds, or whose process on this machine is gone, is taken
    over. The clock is that of the shared file system. Who was suspended for so long that another
    took over is not told, but neither touches nor gives back what is the other's.

    Raises:
        SpectrimError: the folder cannot be written.
    """
    token = secrets.token_hex(8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _create(path, token) or _take_over(path, token)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpectrimError(
            f"{path.parent}: cannot be written ({reason}), where processes say what they work at."
        ) from error
    if not held:
        yield False
        return
    ended = threading.Event()

    def beat() -> None:
        # Missing for a moment while another process looks at it: see `_remove`.
        while not ended.wait(BEAT) and _token(path) in (token, None):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            _remove(path, lambda away: _token(away) == token)


def holder(path: Path) -> str | None:
    """Who holds a claim, as "host process"; None where nobody does, or whoever did is gone."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if _is_stale(path, _now(path.parent) - path.stat().st_mtime):
            return None
        return f"{about['host']} {about['pid']}"
    except (OSError, ValueError, KeyError):
        return None


def _create(path: Path, token: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    about = {"host": socket.gethostname(), "pid": os.getpid(), "token": token}
    about["began"] = _began(os.getpid())
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(about, file)
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return True


def _take_over(path: Path, token: str) -> bool:
    """Remove a stale file, which one process only can do, and create it anew."""
    try:
        seen = _state(path)
        if not _is_stale(path, _now(path.parent) - path.stat().st_mtime):
            return False
        if not _remove(path, lambda away: _state(away) == seen):
            return False
    except FileNotFoundError:  # given back, or taken over by another, in this moment
        pass
    return _create(path, token)


def _remove(path: Path, wanted: Callable[[Path], bool]) -> bool:
    """Remove a file if it is the wanted one; it is looked at where no other process reaches it.

    Raises:
        FileNotFoundError: it is gone already.
    """
    away = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.rename(path, away)
    try:
        if wanted(away):
            return True
        with contextlib.suppress(FileExistsError):
            os.link(away, path)  # another's: put it back
        return False
    finally:
        away.unlink()


def _state(path: Path) -> tuple[bytes, int]:
    """Whose claim it is, and when it was touched; an inode may be another file's by now."""
    return path.read_bytes(), path.stat().st_mtime_ns


def _token(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["token"])
    except (OSError, ValueError, KeyError):
        return None


def _is_stale(path: Path, untouched: float) -> bool:
    with contextlib.suppress(ValueError, KeyError, TypeError):  # not written yet, or damaged
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["host"] == socket.gethostname():
            try:
                os.kill(int(about["pid"]), 0)
                # In a container that starts again, another process has the same number.
                if about.get("began") not in (None, _began(int(about["pid"]))):
                    return True
            except ProcessLookupError:
                return True
            except PermissionError:
                pass
    return untouched > STALE


def _began(pid: int) -> str | None:
    """When a process of this machine began, in ticks; None where the system has no /proc."""
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]  # field 22; the name before may hold spaces
    return None


def _now(folder: Path) -> float:
    """The time by the folder's own file system."""
    probe = folder / f".{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
