"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RULES = {"l": ":--", "r": "--:", "c": ":-:", "-": "---"}


def table(rows: Iterable[Sequence[object]], header: Sequence[object], align: str = "") -> str:
    """A table, without a line break at its end.

    Args:
        rows: cells, written by `str`; a "|" in a cell is escaped.
        header: as many cells as each row has.
        align: a letter for each column, "l", "r", "c", or "-" to leave it to the reader's
            program; "" leaves all columns to it.

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
