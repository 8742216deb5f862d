"""The main numbers of an analysis as tables of text."""

from __future__ import annotations

from typing import Any

from ..assets.published import paper_file
from ..common.text import with_error
from ..pruning.defaults import DEFAULT_REDUCTION, RECOMMENDED

Row = dict[str, Any]
Table = tuple[str, list[str], list[list[str]]]
"""Title, columns, rows of text."""
TIED = "; -: all patches lie in one cluster or score alike, so there is nothing to rank"


def summaries(numbers: Row) -> list[Table]:
    """Tables for people from `tidy_tables.analysis_record`; values have standard errors."""
    tables = [_retention(numbers), _tau(numbers), _received(numbers), _low_ratio(numbers)]
    return [table for table in [*tables, *_clusters(numbers)] if table[2]]


def block_name(block: int | str) -> str:
    """Position of a stage: "block 3", or "input". Blocks count from 0."""
    return "input" if block == "input" else f"block {block}"


def method(row: Row) -> str:
    """The score, and the reduction unless it is keep-top."""
    is_default = row.get("reduction") in (None, DEFAULT_REDUCTION)
    if is_default:
        return str(row["score"])
    if row["score"] == RECOMMENDED:
        return f"{row['reduction']} ({RECOMMENDED})"
    return row["reduction"] if row["score"] == "none" else f"{row['reduction']} by {row['score']}"


def _retention(numbers: Row) -> Table:
    columns = ["model", "data", "score", "clips", "patches left", "L kept %", "H kept %",
               "padding kept %", "sound kept %"]  # fmt: skip
    keys = (("cluster pair", "low"), ("cluster pair", "high"),
            ("padding", "padding"), ("padding", "sound"))  # fmt: skip
    rows = []
    for row in numbers["rows"]:
        if not row["retention"]:
            continue
        last = row["retention"][-1]["after"]
        shares = {
            (entry["kind"], entry["of"]): with_error(entry["value"], entry["error"], 100, 1)
            for entry in row["retention"]
            if entry["after"] == last and entry["patches"] == "all"
        }
        left = f"{row['patches_left']:g} of {row['patches']}"
        head = [row["model"], row["data"], method(row), str(row["clips"]), left]
        rows.append([*head, *(shares.get(key, "-") for key in keys)])
    title = "Kept after the last pruning (L: C1 and C2, H: C4 and C5, of the patch mean)"
    return title, columns, rows


def _tau(numbers: Row) -> Table:
    """First, lowest, highest and last block of the unpruned models."""
    columns = ["model", "data", "against", "definition", "block 0", "lowest", "highest",
               "last block"]  # fmt: skip
    title = "Kendall's tau of the attention score, unpruned, all patches"
    rows: list[list[str]] = []
    for row in numbers["unpruned"]:
        for statistic, against in (("mean", "intensity"), ("std", "variation")):
            curves = {name: _curve(row, statistic, name) for name in ("paper", "tau-b")}
            # With a single cluster every pair is a tie, which the paper's definition counts as 1.
            if all(entry["value"] is None for entry in curves["tau-b"]):
                curves["paper"] = curves["tau-b"]
                title += TIED if TIED not in title else ""
            rows += [
                [row["model"], row["data"], against, definition, *_tau_cells(curve)]
                for definition, curve in curves.items()
            ]
    return title, columns, rows


def _curve(row: Row, statistic: str, definition: str) -> list[Row]:
    key = (statistic, definition, "all")
    return [e for e in row["tau"] if (e["statistic"], e["definition"], e["patches"]) == key]


def _tau_cells(curve: list[Row]) -> list[str]:
    known = [entry for entry in curve if entry["value"] is not None]
    extremes = [
        f"{with_error(entry['value'], entry['error'])} ({block_name(entry['block'])})"
        for choose in (min, max) if known
        for entry in [choose(known, key=lambda entry: entry["value"])]
    ] or ["-", "-"]  # fmt: skip
    first, last = (with_error(entry["value"], entry["error"]) for entry in (curve[0], curve[-1]))
    return [first, *extremes, last]


def _received(numbers: Row) -> Table:
    columns = ["model", "data", "score", "pruning", "kept", "dropped", "ratio"]
    rows = [
        [row["model"], row["data"], method(row), block_name(entry["block"]),
         _exponential(entry["kept"], entry["kept_error"]),
         _exponential(entry["dropped"], entry["dropped_error"]),
         _three_digits(entry["ratio"], entry["ratio_error"])]
        for row in numbers["rows"]
        for entry in row["received"]
        if entry["ratio"] is not None
    ]  # fmt: skip
    return "Attention that a kept and a dropped patch receives", columns, rows


def _exponential(value: float, error: float | None) -> str:
    return f"{value:.2e}" if error is None else f"{value:.2e} ±{error:.0e}"


def _three_digits(value: float, error: float | None) -> str:
    return f"{value:.3g}" if error is None else f"{value:.3g} ±{float(f'{error:.1g}'):g}"


def _low_ratio(numbers: Row) -> Table:
    columns = ["data", "score", "after", "of / to", "all patches", "without padding"]
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in numbers["low_ratio"]:
        pair = f"{row['of']} / {row['to']}"
        key = (row["data"], row["score"], block_name(row["after"]), pair)
        cells.setdefault(key, {})[row["patches"]] = with_error(row["value"], row["error"])
    rows = [[*key, pair.get("all", "-"), pair.get("sound", "-")] for key, pair in cells.items()]
    title = "Low-intensity patches (C1 and C2) that AudioMAE keeps for each one that AST keeps"
    return f"{title}; the paper: about 1.9 on AS-20K and ESC-50", columns, rows


def _clusters(numbers: Row) -> list[Table]:
    columns = ["data", "", "C1", "C2", "C3", "C4", "C5"]
    tables, published = [], paper_file("clusters")
    for statistic, figure in (("mean", "Figure 5"), ("std", "Table III")):
        rows = []
        for data in numbers["data"]:
            for view in data["views"]:
                clusters = view["clusters"][statistic]["clusters"]
                missing = [""] * (5 - len(clusters))
                ranges = [f"{c['from']:.2f} to {c['to']:.2f}" for c in clusters]
                shares = [with_error(c["share"], c["share_error"], 100, 1) for c in clusters]
                rows.append([data["data"], "range", *ranges, *missing])
                rows.append(["", "patches %", *shares, *missing])
        paper_ranges = published[statistic].get("ranges", {})
        paper_shares = published[statistic]["percent"]
        for name in dict.fromkeys([*paper_ranges, *paper_shares]):
            if name in paper_ranges:
                ranges = [f"{low:.2f} to {high:.2f}" for low, high in paper_ranges[name]]
                rows.append([f"{name} (paper)", "range", *ranges])
            if name in paper_shares:
                shares = [f"{share:.1f}" for share in paper_shares[name]]
                rows.append([f"{name} (paper)", "patches %", *shares])
        tables.append((f"Clusters of the patch {statistic} ({figure})", columns, rows))
    return tables
