"""The paper's Table I, to stand beside a grid's own."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


def paper_columns() -> list[str]:
    """Names of its columns, such as "AST, SPC-2"."""
    return list(dict.fromkeys(f"{row['model']}, {row['dataset']}" for row in _rows()))


def paper_numbers(column: str) -> dict[tuple[str | None, float], float]:
    """Percentages of a column by score and keep-rate, the unpruned one's score None; "" has none.

    All are of models fine-tuned at that keep-rate.
    """
    return {
        (row["score"], row["keep_rate"]): row["result"]
        for row in _rows()
        if f"{row['model']}, {row['dataset']}" == column
    }


@cache
def _rows() -> list[dict[str, Any]]:
    file = resources.files("spectrim.assets") / "paper" / "table1_accuracy.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows
