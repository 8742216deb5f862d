"""Tables for people: as wide as a terminal; in a pipe, one line per row, or as wide as a page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from ..common.text import printable

GAP = 2  # characters between columns
SHORTEST = 12  # characters that are left of a shortened name
ELLIPSIS = "…"
UNLIMITED = 100_000
PAGE = 100  # columns of a page of text

Row = Sequence[str] | None


def terminal_width() -> int | None:
    """Columns of the terminal; None where stdout is a pipe or a file."""
    return Console().width if sys.stdout.isatty() else None


def print_text(text: str) -> None:
    """Text to stdout, wrapped between words on a terminal; markup in it is left alone."""
    width = terminal_width()
    console = Console(width=width or UNLIMITED, highlight=False, emoji=False)
    lines = "\n".join(map(printable, text.split("\n")))
    console.print(lines, markup=False, soft_wrap=width is None)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Row],
    caption: str = "",
    left: Sequence[str] = (),
    wrapped: Mapping[str, str] | None = None,
    piped_width: int = UNLIMITED,
) -> None:
    """Print a table to stdout.

    On a terminal that is too narrow, long names are shortened with an ellipsis in their middle.
    If that is not enough, columns on the right are left out and named below the table.

    Args:
        rows: a cell for each column; None draws a line.
        left: columns that are aligned to the left, besides the first.
        wrapped: columns that continue on the next line instead, and the separator at which they
            do: "; " for lists of labels, " " for prose.
        piped_width: columns of a pipe or a file. By default, each row is one line, which other
            programs can read; `PAGE` is for tables of prose.
    """
    wrapped = wrapped or {}
    rows = [None if row is None else list(map(printable, row)) for row in rows]
    texts = {columns[0], *left, *wrapped}
    names = [index for index, column in enumerate(columns) if column in texts]
    separators = {index: wrapped[name] for index, name in enumerate(columns) if name in wrapped}
    width = terminal_width() or piped_width
    cells, shown = fitted(
        [list(columns), *(row for row in rows if row is not None)], names, width, separators
    )
    lines = iter(cells)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, title in enumerate(next(lines)):
        justify = "left" if index in names else "right"
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*next(lines))
    console = Console(width=UNLIMITED, highlight=False, emoji=False)
    console.print(table, markup=False)
    if shown < len(columns):
        left_out = ", ".join(columns[shown:])
        caption += f"\nNot shown on this narrow terminal: {left_out}. Use --json for all columns."
    if caption:
        print_text(caption.strip("\n"))


def fitted(
    rows: Sequence[Sequence[str]],
    names: Sequence[int],
    width: int,
    separators: Mapping[int, str],
) -> tuple[list[list[str]], int]:
    """The cells that fit into a width, and the number of columns that are left.

    Args:
        rows: the titles, then the cells of each row.
        names: indices of the columns that may be shortened.
        separators: those of them that continue on the next line, and where they do.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    smallest = list(widths)
    for index in names:
        least = SHORTEST
        if index in separators:
            items = [item for text in columns[index] for item in text.split(separators[index])]
            least = max(map(cell_len, items)) + 1  # with the ";" behind it
        smallest[index] = min(widths[index], least)
    shown = len(widths)
    while shown > 1 and sum(smallest[:shown]) > width - GAP * (shown - 1):
        shown -= 1
    limits = widths[:shown]
    while sum(limits) > width - GAP * (shown - 1):
        # One character less for the widest, so that all names stay readable alike.
        able = [index for index in range(shown) if limits[index] > smallest[index]]
        if not able:
            break
        limits[max(able, key=lambda index: limits[index])] -= 1
    cells = [
        [
            items_in_lines(row[i], limits[i], separators[i])
            if i in separators
            else elided(row[i], limits[i])
            for i in range(shown)
        ]
        for row in rows
    ]
    return cells, shown


def items_in_lines(text: str, width: int, separator: str) -> str:
    """Items in lines of at most `width` characters, no item in two lines."""
    if cell_len(text) <= width:
        return text
    lines: list[str] = []
    for item in text.split(separator):
        if lines and cell_len(lines[-1] + separator + item) < width:
            lines[-1] += separator + item
        else:
            lines.append(elided(item, width - 1))
    return f"{separator.rstrip()}\n".join(lines)


def elided(text: str, width: int) -> str:
    """A text of at most `width` characters; of a longer one the start and the end stay."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    end = text[len(text) - tail :]
    while cell_len(end) > tail:  # wide characters take two places
        end = end[1:]
    return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + ELLIPSIS + end
