"""Reading of CSV manifests, also as spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..common.errors import SpectrimError, SpectrimNotice, nearest
from .clip import Clip

TIMES = ("start", "end", "target_start", "target_end")
COLUMNS = ("path", "label", "split", "fold", *TIMES, "licence")
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)  # Excel's first line
DECIMAL_COMMA = re.compile(r"\d+,\d+")
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_csv_manifest(path: Path) -> list[Clip]:
    """Read the clips of a CSV manifest.

    Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Commas, semicolons, tabs and bars
    separate cells: the first line "sep=;" says which, else the one that gives a column "path".
    Capital letters in names of columns do not matter.

    Raises:
        SpectrimError: not a table in such a text, no column "path", or a wrong cell, whose row the
            message names.
    """
    text, first_line = _text_of(path), 0
    if match := SEPARATOR_LINE.match(text):
        separator, text, first_line = match[1], text[match.end() :], 1
    else:
        separator = _separator(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        given = [name.strip() for name in next(reader, [])]
        while given and not given[-1]:  # spreadsheets also write empty columns
            given.pop()
        header = [name.lower() for name in given]
        _check_header(path, header, given)
        return [
            _clip(path, reader.line_num + first_line, header, cells, separator)
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise SpectrimError(f"{path}: not a CSV file ({error}).") from error


def _text_of(path: Path) -> str:
    data = path.read_bytes()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in data:
        raise SpectrimError(
            f"{path}: not a CSV file in UTF-8: it has bytes of value 0. Save a table in UTF-8; a "
            "sound file needs a suffix such as .wav."
        )
    try:
        # csv.reader refuses a carriage return alone, which ends lines in files of old programs.
        return re.sub(r"\r\n?", "\n", data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SpectrimError(
            f"{path}: not a CSV file in {encoding.removesuffix('-sig').upper()}: line {line} has "
            f"the byte 0x{data[error.start]:02x}. If a spreadsheet wrote it, save it again as CSV "
            "in UTF-8."
        ) from error


def _separator(text: str) -> str:
    """The separator that gives a column "path" in the first line; a comma if none does."""
    first = text.split("\n", 1)[0]
    for separator in SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator), [])
        if len(cells) > 1 and "path" in (cell.strip().lower() for cell in cells):
            return separator
    return ","


def _check_header(path: Path, header: list[str], given: list[str]) -> None:
    """Args: header: names in small letters; given: as the file has them."""
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SpectrimError(f"{path}: column {repeated[0]!r} occurs more than once. Keep one.")
    if "path" not in header:
        raise SpectrimError(
            f"{path}: no column 'path' in line 1 ({', '.join(given) or 'empty'}). Expected "
            f"path,label and optionally {', '.join(COLUMNS[2:])}."
        )
    for name, as_given in zip(header, given, strict=True):
        if name not in COLUMNS:
            text = f"{path}: column {as_given!r} is ignored.{nearest(name, COLUMNS)}"
            warnings.warn(SpectrimNotice(text), stacklevel=3)


def _clip(path: Path, line: int, header: list[str], cells: list[str], separator: str) -> Clip:
    where = f"{path}, row {line}"
    if not any(cell.strip() for cell in cells[len(header) :]):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        raise SpectrimError(f"{where}: {len(cells)} cells for {len(header)} columns.")
    row = {key: cell.strip() for key, cell in zip(header, cells, strict=True)}
    if not row["path"]:
        raise SpectrimError(f"{where}: the path is empty.")
    times = dict(_times(where, row, separator))
    for first, last in (("start", "end"), ("target_start", "target_end")):
        begin, end = times[first], times[last]
        if end is not None and end <= (begin or 0.0):
            raise SpectrimError(f"{where}: {last} {end} is not after {first} {begin or 0.0}.")
    return Clip(
        path=_file_of(path.parent, row["path"]),
        labels=tuple(part.strip() for part in row.get("label", "").split(";") if part.strip()),
        split=row.get("split") or None,
        fold=row.get("fold") or None,
        start=times["start"],
        end=times["end"],
        target_start=times["target_start"],
        target_end=times["target_end"],
        row=line,
        licence=row.get("licence") or None,
    )


def _file_of(folder: Path, name: str) -> Path:
    """The file of a row; paths written on Windows work on other systems, too."""
    file = folder / name
    if "\\" in name and not file.is_file():
        with_slashes = folder / name.replace("\\", "/")
        return with_slashes if with_slashes.is_file() else file
    return file


def _times(where: str, row: dict[str, str], separator: str) -> Iterator[tuple[str, float | None]]:
    for key in TIMES:
        text = row.get(key, "")
        if separator != "," and DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        try:
            value = float(text or 0)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise SpectrimError(f"{where}: {key} is {text!r}. Expected seconds, 0 or more.")
        yield key, value if text else None
