"""Atomic files: written under a temporary name, then renamed, so a file is complete or absent.

A temporary file lies beside its target. Its name starts with a dot, so no reader takes it for a
result, and holds the process that writes it. What a killed process left is removed when the same
target is written next.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import SpectrimError
from .hooks import pass_point
from .paths import SPECIAL, refuse_address, stat_type

STALE_AFTER = 24 * 3600  # seconds after which a temporary file of another machine is stale


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success the temporary file replaces `path`.

    Raises:
        SpectrimError: the path is an address, or the folder cannot be created or written to.
    """
    if not path.name:
        raise SpectrimError(f"cannot write {path}: it is a folder. Name a file.")
    refuse_address(path, is_output=True)
    aside = path.with_name(_temporary_name(path))
    try:
        if stat_type(path) == SPECIAL:  # renaming would replace a device such as /dev/null
            raise OSError("it is a device, pipe or socket")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        pass_point("file:write")
        yield aside
        pass_point("file:rename")
        os.replace(aside, path)
        pass_point("file:renamed")
    except OSError as error:
        reason = error.strerror or error
        raise SpectrimError(f"cannot write {path}: {reason}. Name another place.") from error
    finally:
        with contextlib.suppress(OSError, ValueError):  # where no file can be made, none is left
            aside.unlink()


def _temporary_name(path: Path) -> str:
    """Such as ".model.3fa9-4711-1b2c3d4e.safetensors": machine, process and a random number."""
    return f".{path.stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"


def _remove_stale(path: Path) -> None:
    """Remove temporary files of this target whose process is dead, or that are a day old."""
    name = re.compile(
        re.escape(f".{path.stem}.")
        + r"(?:([0-9a-f]{4})-(\d+)-)?[0-9a-f]{8}"  # without a process: by Spectrim 0.1
        + re.escape(path.suffix)
    )
    for other in path.parent.glob(f".{_escaped(path.stem)}.*"):
        if match := name.fullmatch(other.name):
            with contextlib.suppress(OSError):  # another process has just removed it
                is_dead = match[1] == _machine() and not _is_alive(int(match[2]))
                if is_dead or time.time() - other.stat().st_mtime > STALE_AFTER:
                    other.unlink()


def _escaped(text: str) -> str:
    """A text for `glob` that stands for itself."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()) & 0xFFFF:04x}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True


def make_folder(path: Path) -> Path:
    """Create a folder if necessary, and check that it can be written to, before long work.

    Raises:
        SpectrimError: it cannot be created or written to.
    """
    refuse_address(path, is_output=True)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # a folder that is there may be read-only
    except OSError as error:
        reason = error.strerror or error
        text = f"cannot write to the folder {path}: {reason}. Name another."
        raise SpectrimError(text) from error
    return path


def save(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary path, then rename it to `path`."""
    with written_aside(path) as aside:
        write(aside)
    return path


def save_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8."""
    return save(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def save_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON; NaN raises, because JSON has no NaN."""
    return save_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_arrays(path: Path, /, *, compress: bool = False, **arrays: Any) -> Path:
    """Write arrays by name into one file that `numpy.load` reads.

    Args:
        path: used unchanged; NumPy would append ".npz" to a name without that suffix.
        compress: smaller files that take longer to write; `numpy.load` reads both kinds.
        arrays: anything that `numpy.asarray` accepts, except Python objects.
    """
    import numpy as np  # here, since errors and text need no NumPy

    write = np.savez_compressed if compress else np.savez
    with written_aside(path) as aside, aside.open("wb") as file:
        write(file, **arrays)
    return path
