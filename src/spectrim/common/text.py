"""Formatting of numbers and lists as text."""

from __future__ import annotations

from collections.abc import Collection


def significant(value: float) -> str:
    """A number with three significant digits, such as "0.0869", "48.6" and "131"."""
    return f"{value:#.3g}".rstrip(".")


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
