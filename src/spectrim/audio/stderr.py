"""Messages that decoder libraries print by themselves, kept from the user's terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# mpg123 cannot be told to be quiet through libsndfile.
MESSAGE = re.compile(rb"\[.*libmpg123.*\] |Note: |Warning: |Illegal Audio-MPEG|\s*$")

_lock = threading.Lock()
_users = 0
_original: int | None = None  # descriptor of the user's stderr
_held: int | None = None  # descriptor of a temporary file


@contextlib.contextmanager
def without_decoder_messages() -> Iterator[None]:
    """Leave out what mpg123 prints to stderr meanwhile; all other text follows at the end.

    Threads share one stderr, so the last one that leaves restores it.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _original, _held
    with _lock:
        _users += 1
        if _users > 1:
            return
        with contextlib.suppress(OSError):  # no stderr, or no folder for temporary files
            if _held is None:
                with tempfile.TemporaryFile() as file:
                    _held = os.dup(file.fileno())
            _flush()
            original = os.dup(2)
            os.dup2(_held, 2)
            _original = original


def _leave() -> None:
    global _users, _original
    with _lock:
        _users -= 1
        if _users or _original is None or _held is None:
            return
        _flush()
        os.dup2(_original, 2)
        os.close(_original)
        _original = None
        if not (size := os.lseek(_held, 0, os.SEEK_END)):
            return
        os.lseek(_held, 0, os.SEEK_SET)
        lines = os.read(_held, size).splitlines(keepends=True)
        os.ftruncate(_held, 0)
        os.lseek(_held, 0, os.SEEK_SET)
    if rest := b"".join(line for line in lines if not MESSAGE.match(line)):
        os.write(2, rest)


def _flush() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
