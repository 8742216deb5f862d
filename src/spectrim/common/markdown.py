"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RULES = {"l": ":--", "r": "--:", "c": ":-:", "-": "---"}


def table(rows: Iterable[Sequence[object]], header: Sequence[object], align: str = "") -> str:
    """A Markdown table without a trailing line break.

    Args:
        rows: cells, converted by `str`; a "|" in a cell is escaped.
        header: one cell per column.
        align: one letter per column: "l", "r", "c", or "-" for the viewer's default alignment;
            "" uses the default for all columns.

    Raises:
        ValueError: a row or `align` does not have as many cells as the header.
    """
    rules = [RULES[letter] for letter in align or "-" * len(header)]
    lines = [[_escaped(cell) for cell in header], rules]
    lines += [[_escaped(cell) for cell in row] for row in rows]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a line of {len(line)} cells under a header of {len(header)}: {line}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(cell: object) -> str:
    return str(cell).replace("|", "\\|")
