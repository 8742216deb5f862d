"""Formatting of numbers, lists and foreign texts for people."""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_VALUE = 200  # characters of a value in a message
MAX_PATH = 4096  # characters of a path, which is not cut; no system takes longer ones
CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # escape sequences clear the screen, a line feed fakes a line
    "\u200e\u200f\u2028-\u202e\u2066-\u2069]"  # line separators, marks that reverse the text
)
QUOTED = re.compile(
    r"""(?<!\w)(?P<quote>['"])(?P<value>(?:(?!(?P=quote))[^\\]|\\.){201,})(?P=quote)(?!\w)""",
    re.DOTALL,
)
LIST = re.compile(r"(?P<start>[\[{])(?P<value>[^\[\]{}]{201,})(?P<end>[\]}])")


def significant(value: float) -> str:
    """A number with three significant digits, such as "0.0869", "48.6" and "131"."""
    return f"{value:#.3g}".rstrip(".")


def duration(seconds: float) -> str:
    """A rounded duration, such as "8 s", "4 min" and "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """A number and its noun, such as "1 file" and "2,000 files"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def with_error(
    value: float | None, error: float | None, scale: float = 1.0, digits: int = 2, sign: str = ""
) -> str:
    """A value with its standard error, such as "0.52 ±0.01"; "-" for a value that is None.

    Args:
        value: the value; error: its standard error, None if unknown.
        scale: factor of both; 100 for percent.
        digits: number of decimals.
        sign: "+" also writes the sign of positive values, for differences.
    """
    if value is None:
        return "-"
    text = f"{value * scale:{sign}z.{digits}f}"  # z: never "-0.0"
    return text if error is None else f"{text} ±{error * scale:.{digits}f}"


def shortened(items: Collection[object], limit: int = 3, total: int | None = None) -> str:
    """The first `limit` items, quoted, such as "'a', 'b', 'c' and 4 more".

    Args:
        items: the items in order.
        total: number of all items, if `items` holds only the first ones.
    """
    shown = list(items)[:limit]
    rest = (len(items) if total is None else total) - len(shown)
    return ", ".join(map(repr, shown)) + (f" and {rest} more" if rest > 0 else "")


def printable(text: str) -> str:
    """A text from a stranger's file as a terminal may show it: control characters are escaped.

    Labels and file names are such texts. The escape character becomes four characters, "\\x1b".
    """
    return CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


def storable(text: str) -> str:
    """A text as UTF-8 can store it: bytes of a file name that are no UTF-8 become "\\udc80"."""
    return text.encode("utf-8", "backslashreplace").decode()


def message_text(text: str) -> str:
    """The text of a message: on one line, without control characters, long values cut.

    Quoted values and lists are cut after `MAX_VALUE` characters. Paths stay whole, because a path
    is copied; commands stay whole, because a message does not quote them.
    """
    text = printable(" ".join(re.split(r"\s*\n\s*", text.strip())))
    text = QUOTED.sub(_cut_value, text)
    return LIST.sub(lambda match: f"{match['start']}{_cut(match['value'])}{match['end']}", text)


def _cut_value(match: re.Match[str]) -> str:
    value = match["value"]
    is_path = "/" in value and not re.search(r"\s", value) and len(value) <= MAX_PATH
    return match[0] if is_path else match["quote"] + _cut(value) + match["quote"]


def _cut(value: str) -> str:
    return f"{value[:MAX_VALUE]}... ({len(value):,} characters)"
