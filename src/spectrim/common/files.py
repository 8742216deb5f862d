"""Files that are either whole or not there: written aside, then renamed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import SpectrimError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`.

    Raises:
        SpectrimError: the folder cannot be made or written to.
    """
    aside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        reason = error.strerror or error
        raise SpectrimError(f"cannot write {path}: {reason}. Name another place.") from error
    finally:
        aside.unlink(missing_ok=True)


def save(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary path, then rename it to `path`."""
    with written_aside(path) as aside:
        write(aside)
    return path


def save_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8."""
    return save(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def save_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON (NaN is refused: it is not JSON)."""
    return save_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        SpectrimError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise SpectrimError(f"{path} is not valid JSON: {error}.") from error
