"""The paper's published numbers, to stand beside ours. No other module reads them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

# The paper's definitions include the padding.
_OUR_NAMES = {"intensity": "intensity-padded", "variation": "variation-padded"}


def paper_columns() -> list[str]:
    """Names of the columns of Table I, such as "AST, SPC-2"."""
    return list(dict.fromkeys(f"{row['model']}, {row['dataset']}" for row in _table1_rows()))


def paper_numbers(column: str) -> dict[tuple[str | None, float], float]:
    """Percentages of a column of Table I by score and keep rate; the unpruned score is None.

    All pruned values are of models fine-tuned at that keep rate. The column "" has no numbers.
    """
    return {
        (_OUR_NAMES.get(row["score"], row["score"]), row["keep_rate"]): row["result"]
        for row in _table1_rows()
        if f"{row['model']}, {row['dataset']}" == column
    }


def paper_loss(family: str, data: str, dropped: str) -> float:
    """Points lost without low ("low") or high ("high") patches, mean over the blocks of Table IV.

    Args:
        family: "AST" or "AudioMAE".
        data: a data set of the table, such as "ESC-50".
    """
    table = paper_file("table4")
    (unpruned,) = _results(table["unpruned"], family, data)
    pruned = _results(table["rows"], family, data, dropped)
    return unpruned - sum(pruned) / len(pruned)


@cache
def paper_file(name: str) -> dict[str, Any]:
    """The numbers of one file, with their "source".

    Args:
        name: "table1_accuracy"; "table2_macs" (GMACs of AudioMAE by tokens and keep rate);
            "figure4" ("tau" by family, statistic and data set); "clusters" (Figure 5 as "mean",
            Table III as "std"); "table4" ("rows", and the "unpruned" rows of Table I).
    """
    file = resources.files("spectrim.assets") / "paper" / f"{name}.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return numbers


def _table1_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = paper_file("table1_accuracy")["rows"]
    return rows


def _results(rows: list[dict[str, Any]], family: str, data: str, dropped: str = "") -> list[float]:
    return [
        row["result"]
        for row in rows
        if (row["model"], row["dataset"]) == (family, data)
        and row.get("dropped", "").startswith(dropped)
    ]
