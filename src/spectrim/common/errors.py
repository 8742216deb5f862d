"""Errors that a user can cause and fix, and notices."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from .text import message_text, shortened

ALLOCATION = re.compile(
    r"can.?t allocate memory|not enough memory|out of memory|Storage size calculation overflowed"
    r"|invalid size, tried to allocate|bad_alloc|numel: integer multiplication overflow",
    re.IGNORECASE,
)
"""How torch words a failed allocation, on the CPU and on a GPU."""
SHOWN = 12  # known names that a message lists


class SpectrimError(ValueError):
    """An error whose message names the file, row or key, the problem, and how to fix it.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message_text(message))


class SpectrimNotice(UserWarning):
    """Something was assumed or left out. The command line prints it as a note."""

    def __init__(self, message: str) -> None:
        super().__init__(message_text(message))


def not_finite(name: str) -> SpectrimError:
    """The error for an output with NaN or infinity, for the sound `name`."""
    return SpectrimError(
        f"{name}: the model's output is not finite. Its weights are damaged, or the dtype has too "
        "little range. Try --dtype float32, and run spectrim check."
    )


def missing_package(need: str, package: str, extra: str) -> SpectrimError:
    """A package of an extra is not installed.

    Args:
        need: what requires it, such as "export".
    """
    return SpectrimError(
        f"{need} requires the package {package}, which is not installed. Run pip install "
        f"{package}, or in a clone of Spectrim pip install -c constraints.txt -e '.[{extra}]'."
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be allocated, on the CPU or a GPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(ALLOCATION.search(str(error)))


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop; its type if it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggestions for a mistyped name: the nearest known names, then all of them.

    Returns text such as ``" Did you mean 'ast-base'? Known: 'ast-base', 'ast-tiny'."``.
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{hint} Known: {shortened(known, SHOWN)}."
