"""How numbers are written for people."""

from __future__ import annotations


def significant(value: float) -> str:
    """Three figures of a number, such as "0.0869", "48.6" and "131"."""
    return f"{value:#.3g}".rstrip(".")
