"""A sweep's rows as one table for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from ..common.text import significant
from .output import points, print_table, stdout

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]
NOISY = 0.25  # of a speed-up, between its quartiles: an idle machine stays well under a tenth


def print_rows(rows: Sequence[Row]) -> None:
    """A table for each metric, since models may differ in it."""
    for metric in dict.fromkeys(row["metric"] for row in rows):
        _print_table([row for row in rows if row["metric"] == metric])


def _print_table(rows: Sequence[Row]) -> None:
    """A line a row, a section a score; below it what the columns mean."""
    columns = _columns(rows)
    lines: list[list[str] | None] = []
    last = None
    for row in rows:
        section = (row["model"], row["score"])
        if last not in (None, section):
            lines.append(None)
        last = section
        lines.append([cell(row) for _, cell in columns])
    print_table([name for name, _ in columns], lines, _caption(rows))
    if rows[0]["metric"] == "agreement" and "against" not in rows[0]:
        for model in dict.fromkeys(row["model"] for row in rows):
            _print_changes([row for row in rows if row["model"] == model])


def _columns(rows: Sequence[Row]) -> list[Column]:
    columns: list[Column] = [
        ("score", lambda row: row["score"] or "unpruned"),
        ("keep", lambda row: "several" if row["keep_rate"] is None else str(row["keep_rate"])),
    ]
    if len({row["model"] for row in rows}) > 1:
        columns.insert(0, ("model", lambda row: row["model"]))
    if "against" in rows[0]:
        columns.append(("int8", lambda row: row["quantization"].removeprefix("int8 ")))
    if rows[0]["metric"] == "agreement":
        columns.append(("same top-1 (95 %)", same_interval))
        columns.append(("same top-5", _same_five))
    else:
        columns.append((rows[0]["metric"], _value))
        columns.append(("vs first" if "against" in rows[0] else "vs 1.0", _difference))
        columns.append(("same", lambda row: f"{row['agreement']['top1']['value']:.1%}"))
    columns += [
        ("GMACs", lambda row: significant(row["gmacs"])),
        ("ms/clip", lambda row: f"{row['ms_per_clip']:.2f}"),
        ("speed-up", lambda row: f"{row['speedup']:.2f}x"),
    ]
    if any("kept_on_target" in row for row in rows):
        columns.append(("target", lambda row: f"{row['kept_on_target']:.1%}"))
    return columns


def _value(row: Row) -> str:
    return f"{row['value']:.4f}" if row["metric"] == "mAP" else f"{row['value']:.1%}"


def _difference(row: Row) -> str:
    if row["model"] == row["against"] if "against" in row else row["score"] is None:
        return "-"
    return points(row["difference"])


def same_interval(row: Row) -> str:
    """The share of clips whose top class stays, with its interval."""
    found = row["agreement"]["top1"]
    return f"{found['value']:.1%} ({found['low']:.0%} to {found['high']:.0%})"


def _same_five(row: Row) -> str:
    found = row["agreement"]["top5"]
    return "-" if found is None else f"{found['value']:.1%}"


def _caption(rows: Sequence[Row]) -> str:
    first = rows[0]
    left_out = f" ({first['failed']} could not be read)" if first["failed"] else ""
    files = "against" in first  # whose column "int8" says what each computes with
    lines = [
        f"{first['clips']} clips{left_out}; time at batch {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}{'' if files else ', ' + first['dtype']}, "
        f"medians of {first['timing_rounds']} rounds, speed-up: of their ratios."
    ]
    if files:
        lines.append(
            f"vs first, same, speed-up: compared with {first['against']}; time from waveforms to "
            f"probabilities, in {first['backend']}."
        )
    elif first["metric"] == "agreement":
        lines.append("No labels: compared with the unpruned model.")
    else:
        lines.append(
            "vs 1.0: points from unpruned, 95 % interval; same: clips whose top class is as "
            "unpruned."
        )
    if all_of := {row["model"]: row["all_on_target"] for row in rows if "all_on_target" in row}:
        alike = len({f"{share:.1%}" for share in all_of.values()}) == 1
        shares = [
            f"{share:.1%} do{'' if alike else f' ({name})'}" for name, share in all_of.items()
        ]
        lines.append(
            "target: share of the patches left that lie on the target; of all patches "
            f"{', '.join(dict.fromkeys(shares))}."
        )
    if scattered := _scatter(rows):
        lines.append(
            f"Times scatter: the middle half of a row's pairs spans {scattered:.0%} of its "
            "speed-up. Is the machine busy with something else? Idle, it tells more."
        )
    return "\n".join(lines)


def _scatter(rows: Sequence[Row]) -> float:
    """How far the quartiles of a speed-up lie apart, median over rows; 0 where that is little."""
    apart = [
        (row["speedup_quartiles"][1] - row["speedup_quartiles"][0]) / row["speedup"]
        for row in rows
        if row["speedup_quartiles"][0] < row["speedup_quartiles"][1]
    ]
    middle = statistics.median(apart) if apart else 0.0
    return middle if middle > NOISY else 0.0


def _print_changes(rows: Sequence[Row]) -> None:
    """Which classes change most where most is dropped."""
    pruned = [row for row in rows if row["score"] is not None]
    if not pruned:
        return
    worst = min(
        pruned,
        key=lambda row: (row["agreement"]["top1"]["value"], -row["agreement"]["change"]["value"]),
    )
    found = worst["agreement"]
    classes = ", ".join(
        f"{entry['label']} {entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
        for entry in found["classes"]
    )
    stdout().print(
        f"{worst['model']}, least agreement: {worst['score']} at {worst['keep_rate']}. Mean "
        f"change of probability there (95 %): {classes}; largest change of any: "
        f"{found['largest_change']:.2f} ({found['largest_change_label']}).",
        markup=False,
    )
