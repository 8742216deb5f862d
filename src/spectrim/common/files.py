"""Atomic files: written under a temporary name, then renamed, so a file is complete or absent."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import SpectrimError


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success the temporary file replaces `path`.

    Raises:
        SpectrimError: the folder cannot be created or written to.
    """
    if not path.name:
        raise SpectrimError(f"cannot write {path}: it is a folder. Name a file.")
    aside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        reason = error.strerror or error
        raise SpectrimError(f"cannot write {path}: {reason}. Name another place.") from error
    finally:
        with contextlib.suppress(OSError):  # where no file can be made, none is left
            aside.unlink()


def make_folder(path: Path) -> Path:
    """Create a folder if necessary, and check that it can be written to, before long work.

    Raises:
        SpectrimError: it cannot be created or written to.
    """
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


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        SpectrimError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise SpectrimError(f"{path} is not valid JSON: {error}.") from error
