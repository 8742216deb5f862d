"""The few numbers of an analysis that a person wants first, as rows of text."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
Table = tuple[str, list[str], list[list[str]]]
"""Title, columns, rows of text."""
TIED = "; -: all patches lie in one cluster, or score alike, so that there is nothing to rank"


def summaries(numbers: dict[str, Any], published: dict[str, Any]) -> list[Table]:
    """Tables for people from what `rows.record` gives; values are given with standard errors.

    Args:
        published: the paper's clusters, as assets/paper/clusters.json has them.
    """
    found = [_retention(numbers), _tau(numbers), _received(numbers), _ratios(numbers)]
    return [table for table in [*found, *_clusters(numbers, published)] if table[2]]


def not_run(entry: Row) -> str:
    """A sentence on a model and data that `analyze.skipped` names."""
    names = ", ".join(repr(label) for label in entry["unknown_labels"])
    more = entry["unknown"] - len(entry["unknown_labels"])
    names += f" and {more} more" if more else ""
    return (
        f"{entry['model']} is not run on {entry['data']}, whose labels it does not know: {names}."
    )


def with_error(
    value: float | None, error: float | None, scale: float = 1.0, digits: int = 2
) -> str:
    """Such as "0.52 ±0.01"; "-" where the value is not defined."""
    if value is None:
        return "-"
    text = f"{value * scale:.{digits}f}"
    return text if error is None else f"{text} ±{error * scale:.{digits}f}"


def _percent(entry: Row | None) -> str:
    return with_error(entry["value"], entry["error"], 100, 1) if entry else "-"


def _retention(numbers: dict[str, Any]) -> Table:
    columns = ["model", "data", "score", "clips", "patches left", "L kept %", "H kept %",
               "padding kept %", "sound kept %"]  # fmt: skip
    rows = []
    for row in numbers["rows"]:
        if not row["retention"]:
            continue
        last = row["retention"][-1]["after"]
        ends = {
            (e["kind"], e["of"]): e
            for e in row["retention"]
            if e["after"] == last and e["patches"] == "all"
        }
        keys = [("cluster pair", "low"), ("cluster pair", "high")]
        keys += [("padding", "padding"), ("padding", "sound")]
        shares = [_percent(ends.get(key)) for key in keys]
        left = f"{row['patches_left']} of {row['patches']}"
        rows.append([row["model"], row["data"], row["score"], str(row["clips"]), left, *shares])
    title = "Retained after the last pruning (L: C1 and C2, H: C4 and C5, of the patch mean)"
    return title, columns, rows


def _tau(numbers: dict[str, Any]) -> Table:
    """First, lowest, highest and last block, of the unpruned models."""
    columns = [
        "model",
        "data",
        "against",
        "definition",
        "block 1",
        "lowest",
        "highest",
        "last block",
    ]
    title = "Kendall's tau of the attention score, unpruned, all patches"
    rows: list[list[str]] = []
    for row in numbers["unpruned"]:
        for statistic in ("mean", "std"):
            curves = {name: _curve(row, statistic, name) for name in ("paper", "tau-b")}
            # Without two clusters every pair is a tie, which the paper's definition counts as 1.
            if all(entry["value"] is None for entry in curves["tau-b"]):
                curves["paper"] = curves["tau-b"]
                title += TIED if TIED not in title else ""
            for definition, curve in curves.items():
                known = [e for e in curve if e["value"] is not None]
                low = min(known, key=lambda e: e["value"], default=None)
                high = max(known, key=lambda e: e["value"], default=None)
                cells = [with_error(curve[0]["value"], curve[0]["error"])]
                cells += [_in_block(low), _in_block(high)]
                cells += [with_error(curve[-1]["value"], curve[-1]["error"])]
                against = "intensity" if statistic == "mean" else "variation"
                rows.append([row["model"], row["data"], against, definition, *cells])
    return title, columns, rows


def _curve(row: Row, statistic: str, definition: str) -> list[Row]:
    wanted = (statistic, definition, "all")
    return [e for e in row["tau"] if (e["statistic"], e["definition"], e["patches"]) == wanted]


def _in_block(entry: Row | None) -> str:
    if entry is None:
        return "-"
    return f"{with_error(entry['value'], entry['error'])} (block {entry['block'] + 1})"


def _received(numbers: dict[str, Any]) -> Table:
    columns = ["model", "data", "score", "pruning", "kept", "dropped", "ratio"]
    rows = []
    for row in numbers["rows"]:
        for entry in row["received"]:
            if entry["ratio"] is None:
                continue
            cells = [_with_error(entry, key, ".2e", ".0e") for key in ("kept", "dropped")]
            place = f"block {entry['block'] + 1}"
            rows.append([row["model"], row["data"], row["score"], place, *cells,
                         _with_error(entry, "ratio", ".3g", ".1g")])  # fmt: skip
    return "Attention that a kept and a dropped patch receives", columns, rows


def _with_error(entry: Row, key: str, form: str, error_form: str) -> str:
    """A value and its error, where one clip or none leaves it no error: the value alone."""
    value, error = f"{entry[key]:{form}}", entry[f"{key}_error"]
    if error is None:
        return value
    text = f"{error:{error_form}}"
    return f"{value} ±{float(text):g}" if error_form.endswith("g") else f"{value} ±{text}"


def _ratios(numbers: dict[str, Any]) -> Table:
    columns = ["data", "score", "after", "of / to", "all patches", "without padding"]
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in numbers["low_ratio"]:
        place = "input" if row["after"] == "input" else f"block {row['after'] + 1}"
        key = (row["data"], row["score"], place, f"{row['of']} / {row['to']}")
        cells.setdefault(key, {})[row["patches"]] = with_error(row["value"], row["error"])
    rows = [[*key, pair.get("all", "-"), pair.get("sound", "-")] for key, pair in cells.items()]
    title = "Low-intensity patches (C1 and C2) that AudioMAE retains for each that AST does"
    return f"{title}; the paper: about 1.9 on AS-20K and ESC-50", columns, rows


def _clusters(numbers: dict[str, Any], published: dict[str, Any]) -> list[Table]:
    found = []
    for statistic, title in (("mean", "Figure 5"), ("std", "Table III")):
        columns = ["data", "", "C1", "C2", "C3", "C4", "C5"]
        rows = []
        for data in numbers["data"]:
            for view in data["views"]:
                clusters = view["clusters"][statistic]["clusters"]
                pad = [""] * (5 - len(clusters))
                sizes = [with_error(c["share"], c["share_error"], 100, 1) for c in clusters]
                ranges = [f"{c['from']:.2f} to {c['to']:.2f}" for c in clusters]
                rows += [[data["data"], "range", *ranges, *pad], ["", "patches %", *sizes, *pad]]
        known = published[statistic]
        for name in dict.fromkeys([*known.get("ranges", {}), *known["percent"]]):
            if name in known.get("ranges", {}):
                ranges = [f"{low:.2f} to {high:.2f}" for low, high in known["ranges"][name]]
                rows.append([f"{name} (paper)", "range", *ranges])
            if name in known["percent"]:
                sizes = [f"{share:.1f}" for share in known["percent"][name]]
                rows.append([f"{name} (paper)", "patches %", *sizes])
        found.append((f"Clusters of the patch {statistic} ({title})", columns, rows))
    return found
