"""The one kind of error that a user can cause and mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .text import shortened

SHOWN = 12  # known names that a message lists


class SpectrimError(ValueError):
    """A sentence that names the file, row or key, what is wrong, and the way out.

    The command line prints it without a traceback and exits with status 2.
    """


class SpectrimNotice(UserWarning):
    """What was assumed or left out, and should be known; the command line prints it plainly."""


def not_finite(name: str) -> SpectrimError:
    """The error of an answer that is no number, for the sound `name`."""
    return SpectrimError(
        f"{name}: the model's answer is not finite. Its weights are damaged, or their precision "
        "is too narrow: try float32, and spectrim check."
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that offers the known names nearest to a mistyped one.

    Returns text such as ``" Did you mean 'ast-base'? Known: 'ast-base', 'ast-tiny'."``.
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{hint} Known: {shortened(known, SHOWN)}."
