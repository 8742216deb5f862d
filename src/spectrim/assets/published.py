"""The paper's published numbers, to stand beside ours. No other module reads them."""

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
def paper_file(name: str) -> dict[str, Any]:
    """The numbers of one file, with their "source".

    Args:
        name: "table1_accuracy"; "figure4" ("tau" by family, statistic and data set); "clusters"
            (Figure 5 as "mean", Table III as "std"); "table4" ("rows", and the "unpruned" rows of
            Table I).
    """
    file = resources.files("spectrim.assets") / "paper" / f"{name}.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return numbers


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = paper_file("table1_accuracy")["rows"]
    return rows
