"""Read CSV tables, including those that spreadsheets write."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import SpectrimError
from ..common.paths import read_bytes

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\n', re.IGNORECASE)  # Excel's first line
DECIMAL_COMMA = re.compile(r"\d+,\d+")
# UTF-32 comes first, because its byte order mark begins with the mark of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file.

    Attributes:
        given: names of the columns as in the file.
        header: the same names in lower case.
        rows: line number and cells of each row that is not empty. Empty cells beyond the header are
            removed.
        separator: the character between cells.
    """

    given: list[str]
    header: list[str]
    rows: list[tuple[int, list[str]]]
    separator: str

    def number_text(self, text: str) -> str:
        """The text of a number with a decimal point instead of a decimal comma."""
        is_comma = self.separator != "," and DECIMAL_COMMA.fullmatch(text)
        return text.replace(",", ".") if is_comma else text


def read_table(path: Path, column: str) -> Table:
    """Read a CSV file.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. The separator is a comma,
    semicolon, tab or bar. A first line such as "sep=;" names it. Otherwise it is the one that
    yields a column named `column`.

    Raises:
        SpectrimError: the file is not such a table, or a column occurs twice.
    """
    text, first_line = _text_of(path), 0
    try:
        if match := SEPARATOR_LINE.match(text):
            separator, text, first_line = match[1], text[match.end() :], 1
        else:
            separator = _separator(text, column)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        given = [name.strip() for name in next(reader, [])]
        rows = [
            (reader.line_num + first_line, cells)
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except (csv.Error, TypeError, ValueError) as error:  # such as a quote as the separator
        raise SpectrimError(f"{path}: not a CSV file ({error}).") from error
    while given and not given[-1]:  # spreadsheets also write empty columns
        given.pop()
    header = [name.lower() for name in given]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SpectrimError(f"{path}: column {repeated[0]!r} occurs more than once. Keep one.")
    return Table(given, header, [(line, _cut(cells, header)) for line, cells in rows], separator)


def _cut(cells: list[str], header: list[str]) -> list[str]:
    """The cells of a row without those beyond the header, if they are empty."""
    is_empty = not any(cell.strip() for cell in cells[len(header) :])
    return cells[: len(header)] if is_empty else cells


def _text_of(path: Path) -> str:
    data = read_bytes(path, "a CSV file")
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in data:
        raise SpectrimError(
            f"{path}: not a CSV file in UTF-8: it has bytes of value 0. Save a table in UTF-8. "
            "Name a sound file with a suffix such as .wav."
        )
    try:
        # csv.reader refuses single carriage returns, which end lines in files of old programs.
        return re.sub(r"\r\n?", "\n", data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SpectrimError(
            f"{path}: not a CSV file in {encoding.removesuffix('-sig').upper()}: line {line} has "
            f"the byte 0x{data[error.start]:02x}. If a spreadsheet wrote it, save it again as CSV "
            "in UTF-8."
        ) from error


def _separator(text: str, column: str) -> str:
    """The separator that yields the column in the first line; a comma if none does."""
    first = text.split("\n", 1)[0]
    for separator in SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator), [])
        if len(cells) > 1 and column in (cell.strip().lower() for cell in cells):
            return separator
    return ","
