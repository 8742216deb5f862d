"""A sweep's rows as one table for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from ..common.text import significant
from ..pruning.defaults import DEFAULT_REDUCTION
from ..pruning.saved_plans import is_unpruned, mean_gmacs, method_of
from .output import notify, points_with_interval
from .tables import print_table, print_text

Row = dict[str, Any]
ShownColumn = tuple[str, Callable[[Row], str]]
NOISY = 0.25  # interquartile range over speed-up; on an idle machine it is well under 0.1


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows: one table for ONNX files, otherwise a table for each model."""
    for metric in dict.fromkeys(row["metric"] for row in rows):
        group = [row for row in rows if row["metric"] == metric]
        models = dict.fromkeys(row["model"] for row in group)
        if "against" in group[0]:
            _print_table(group)
        else:
            for model in models:
                print_text(f"\n{model}:")
                _print_table([row for row in group if row["model"] == model])
        print_text(caption(group))
        if metric == "agreement" and "against" not in group[0]:
            for model in models:
                _print_changes([row for row in group if row["model"] == model])
    if note := noise_note(rows):
        notify("note", note)


def _print_table(rows: Sequence[Row]) -> None:
    """A line for each row, a section for each score."""
    columns = _columns(rows)
    lines: list[list[str] | None] = []
    last = rows[0]
    for row in rows:
        if (row["model"], method_of(row)) != (last["model"], method_of(last)):
            lines.append(None)
        last = row
        lines.append([cell(row) for _, cell in columns])
    print_table([name for name, _ in columns], lines, left=["score", "method"])


def _columns(rows: Sequence[Row]) -> list[ShownColumn]:
    compares_files = "against" in rows[0]
    columns: list[ShownColumn] = [
        (method_header(rows), method_of),
        ("keep", keep_text),
    ]
    if any("keep_rate_of_stages" in row for row in rows):
        columns.append(("per block", _rate_per_block))
    if compares_files:
        columns.insert(0, ("model", lambda row: row["model"]))
        columns.append(("int8", lambda row: row["quantization"].removeprefix("int8 ")))
    if rows[0]["metric"] == "agreement":
        columns.append(("same top-1 (95 %)", same_interval))
        columns.append(("top-5 overlap", top_five_overlap))
    else:
        columns.append((rows[0]["metric"], _value))
        columns.append(("points", _difference))
        columns.append(("same", lambda row: f"{row['agreement']['top1']['value']:.1%}"))
    if any("mean_gmacs" in row for row in rows):  # clips keep different numbers of patches
        columns.append(("max GMACs", lambda row: significant(row["gmacs"])))
        columns.append(("mean GMACs", lambda row: significant(mean_gmacs(row))))
    else:
        columns.append(("GMACs", lambda row: significant(row["gmacs"])))
    columns += shown_time_columns(rows)
    if any("kept_on_target" in row for row in rows):
        columns.append(("target", lambda row: f"{row['kept_on_target']:.1%}"))
    return columns


def _value(row: Row) -> str:
    return f"{row['value']:.4f}" if row["metric"] == "mAP" else f"{row['value']:.1%}"


def _difference(row: Row) -> str:
    is_reference = row["model"] == row["against"] if "against" in row else is_unpruned(row)
    return "-" if is_reference else points_with_interval(row["difference"])


def method_header(rows: Sequence[Row]) -> str:
    """Header of the column of `method_of`: a score names the method where only keep-top prunes."""
    reductions = {row.get("reduction", DEFAULT_REDUCTION) for row in rows}
    is_score = reductions <= {None, DEFAULT_REDUCTION} and not any(map(is_recommended, rows))
    return "score" if is_score else "method"


def is_recommended(row: Row) -> bool:
    """Whether the plan of a row is the recommended one of its model."""
    return bool(row.get("recommended"))


def keep_text(row: Row) -> str:
    """The keep rate; of a recommended plan with the number of its stages, such as "0.9 x 12"."""
    if row["keep_rate"] is None:
        return "several"
    stages = f" x {len(row['plan']['stages'])}" if row.get("recommended") else ""
    return f"{row['keep_rate']}{stages}"


def _rate_per_block(row: Row) -> str:
    """The keep rate of every stage and their number, such as "0.92 x 12"."""
    rate = row.get("keep_rate_of_stages")
    return "" if rate is None else f"{rate:g} x {len(row['plan']['stages'])}"


def same_interval(row: Row) -> str:
    """The fraction of clips whose top-1 class does not change, with its interval."""
    top1 = row["agreement"]["top1"]
    return f"{top1['value']:.1%} ({top1['low']:.0%} to {top1['high']:.0%})"


def lengths_text(lengths: dict[str, Any]) -> str:
    """What shorter lengths save and change, from `evaluation.short_clips.compare_lengths`."""
    text = (
        f"Length: 95 % of your clips are at most {lengths['clip_seconds']:.3g} s of a "
        f"{lengths['window_seconds']:.3g} s window."
    )
    for row in lengths["rows"]:
        text += (
            f" --frames {row['frames']} needs {100 * row['work']:.0f} % of the MACs and keeps the "
            f"top class of {same_interval(row)} of the clips."
        )
    return f"{text} --frames auto works in tag, embed and thresholds only."


def shown_time_columns(rows: Sequence[Row]) -> list[ShownColumn]:
    """The columns of measured time; none if no row was timed."""
    if all(row["ms_per_clip"] is None for row in rows):
        return []
    return [
        ("ms/clip", lambda row: _optional(row["ms_per_clip"], "")),
        ("speed-up", lambda row: _optional(row["speedup"], "x")),
    ]


def _optional(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def top_five_overlap(row: Row) -> str:
    """The mean fraction of the unpruned model's top five classes that stay in the top five."""
    top5 = row["agreement"]["top5"]
    return "-" if top5 is None else f"{top5['value']:.1%}"


def caption(rows: Sequence[Row]) -> str:
    """Two lines that say how the table was measured and what its columns mean."""
    first = rows[0]
    clips = {row["model"]: clips_text(row) for row in rows}
    if len(set(clips.values())) == 1:
        clips_of_models = clips_text(first)
    else:  # interrupted
        clips_of_models = ", ".join(f"{text} ({name})" for name, text in clips.items())
    measured = (
        f"{clips_of_models}; batch size {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}"
    )
    if "against" in first:  # of files; the column int8 says what each computes with
        measured += f", {first['backend']}"
        columns = (
            f"points (95 % interval), same, speed-up: against {first['against']}; time from "
            "waveforms to probabilities."
        )
    elif first["metric"] == "agreement":
        measured += f", {first['dtype']}"
        columns = "No labels: clips whose classes are those of the unpruned model."
    else:
        measured += f", {first['dtype']}"
        columns = (
            "points: change from unpruned, 95 % interval. same: clips with the same top-1 class."
        )
    measured += f"; {timing_text(rows)}."
    if method_header(rows) == "method":  # a method without the name of a reduction
        columns += f" A score alone names {DEFAULT_REDUCTION} by that score."
    if rates := {row["model"]: row["all_on_target"] for row in rows if "all_on_target" in row}:
        alike = len({f"{rate:.1%}" for rate in rates.values()}) == 1
        texts = [f"{rate:.1%}" + ("" if alike else f" ({name})") for name, rate in rates.items()]
        columns += (
            f" target: kept patches on the target; of all patches: "
            f"{', '.join(dict.fromkeys(texts))}."
        )
    return f"{measured}\n{columns}"


def clips_text(row: Row) -> str:
    """The number of clips that a row covers, such as "96 clips" or "40 of 96 clips"."""
    clips = str(row["clips"])
    if "clips_asked" in row:  # interrupted
        clips += f" of {row['clips_asked']}"
    return f"{clips} clips" + (f" ({row['failed']} could not be read)" if row["failed"] else "")


def timing_text(rows: Sequence[Row]) -> str:
    """How the times of the rows were measured, in words."""
    timed = [row for row in rows if row["timing_rounds"]]
    if not timed:
        return "not timed"
    rounds = sorted({row["timing_rounds"] for row in timed})
    text = f"median times of {' to '.join(map(str, dict.fromkeys([rounds[0], rounds[-1]])))} rounds"
    size = timed[0]["timing_batch_size"]
    if size != timed[0]["batch_size"]:
        text += f" at batch size {size}"
    if left_out := len(rows) - len(timed):
        text += f"; {left_out} rows did not fit into --budget"
    return text


def noise_note(rows: Sequence[Row]) -> str:
    """A note if the timings scatter too much: median interquartile range over the speed-up."""
    ranges = [
        (row["speedup_quartiles"][1] - row["speedup_quartiles"][0]) / row["speedup"]
        for row in rows
        if row["speedup"] and row["speedup_quartiles"][0] < row["speedup_quartiles"][1]
    ]
    middle = statistics.median(ranges) if ranges else 0.0
    if middle <= NOISY:
        return ""
    return (
        f"timings are noisy (interquartile range is {middle * 100:.0f} % of the speed-up). Re-run "
        "on an idle machine."
    )


def _print_changes(rows: Sequence[Row]) -> None:
    """Print which classes change most in the row with the least agreement."""
    pruned = [row for row in rows if not is_unpruned(row)]
    if not pruned:
        return
    worst = min(
        pruned,
        key=lambda row: (row["agreement"]["top1"]["value"], -row["agreement"]["change"]["value"]),
    )
    agreement = worst["agreement"]
    classes = ", ".join(
        f"{entry['label']} {entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
        for entry in agreement["classes"]
    )
    print_text(
        f"{worst['model']}: agreement is lowest with {method_of(worst)} at keep rate "
        f"{worst['keep_rate']}. Mean change of probability there (95 % interval): {classes}. "
        f"Largest change: {agreement['largest_change']:.2f} ({agreement['largest_change_label']})."
    )
