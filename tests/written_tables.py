"""Tables read back, and the rows that they should have."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import spectrim
from loudness import Loudness
from spectrim.data.sound_files import sound_files

COLUMNS = ["file", "start", "end", "label", "probability", "channel", "status", "error"]


def skip_without_pyarrow(out):
    if str(out).endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="Parquet tables need pyarrow: pip install pyarrow")


def read_table(path: Path) -> list[dict]:
    """The rows of a table in any format, with numbers as numbers."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    texts = {"file", "label", "channel", "status", "error"}
    with path.open(newline="") as file:
        return [
            {k: None if v == "" else v if k in texts else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def expected_rows(files=None, folder=None, **options) -> list[dict]:
    """One call of `spectrim.tag` per file."""
    rows = []
    for file in files or sound_files(folder):
        failures = []
        place = dict.fromkeys(COLUMNS) | {"file": str(file), "channel": "mix"}
        for row in spectrim.tag(Loudness(), file, failures=failures, **options):
            window = place | {"start": row["start"], "end": row["end"]}
            rows += [window | {"status": "ok"} | label for label in row["labels"]]
            if not row["labels"]:
                rows.append(window | {"status": "no label"})
        rows += [place | {"status": "failed", "error": message} for _, message in failures]
    return rows
