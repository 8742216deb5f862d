"""Tables of results/reductions/README.md, as Markdown, from the records there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spectrim.common.markdown import table
from spectrim.metrics.intervals import Interval, difference_interval
from spectrim.pruning.defaults import DEFAULT_REDUCTION, REDUCTION_NAMES
from spectrim.pruning.plan import Plan

SPEEDUPS = (1.5, 2.0)
BATCHES = {"torch-1": "1", "torch-8": "8"}  # column of a record to batch size
DEFAULT_BATCH = "torch-8"
RATES = (0.7, 0.5, 0.4)  # keep-top's, in the tables at equal MACs
OTHERS = [name for name in REDUCTION_NAMES if name != DEFAULT_REDUCTION]

Row = dict[str, Any]


def unpacked(text: str, count: int) -> np.ndarray:
    """(clips,) bool from the hexadecimal text of a record."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(bool)


def difference(record: Row, row: Row, base: Row) -> Interval:
    """The paired difference in accuracy of two rows."""
    count = record["clips"]
    changes = unpacked(row["correct"], count).astype(int) - unpacked(base["correct"], count)
    return difference_interval(changes)


def fast_enough(record: Row, reduction: str, batch: str, speedup: float) -> Row | None:
    """Of the rows of a reduction that reach this speed-up, the one that removes the fewest patches.

    It is chosen by time only, so that the accuracies of several rows do not compete.
    """
    rows = [
        row
        for row in record["rows"]
        if row["reduction"] == reduction and row[batch]["speedup"] >= speedup
    ]
    return max(rows, key=lambda row: row["macs"], default=None)


def equal_macs(record: Row) -> str:
    """Accuracy and unchanged top classes of each reduction at keep-top's MACs."""
    count, unpruned = record["clips"], record["rows"][0]
    full = unpacked(record["full"], count)
    rows = {(row["reduction"], row["keep_rate"]): row for row in record["rows"]}
    lines = []
    for reduction in REDUCTION_NAMES:
        cells: list[str] = [reduction]
        for rate in RATES:
            row = rows[reduction, rate]
            same = unpacked(row["same"], count)
            cells += [
                f"{row['macs']:.2f}",
                percent(row["accuracy"]),
                percent(same.mean()),
                percent(same[full].mean()) if full.any() else "-",
            ]
        lines.append(cells)
    header = ["reduction", *(["MACs", "accuracy", "same", "same, full"] * len(RATES))]
    title = (
        f"### {record['model']}\n\n{count} clips, unpruned {percent(unpruned['accuracy'])} %; "
        f"{int(full.sum())} clips fill their window.\n\n"
    )
    return title + table(lines, header, "-" + "r" * (len(header) - 1))


def equal_time(records: list[Row]) -> str:
    """For each model, batch size and speed-up, keep-top beside the most accurate other one."""
    lines = []
    for record in records:
        for batch, size in BATCHES.items():
            for speedup in SPEEDUPS:
                base = fast_enough(record, DEFAULT_REDUCTION, batch, speedup)
                chosen = (fast_enough(record, name, batch, speedup) for name in OTHERS)
                others = [row for row in chosen if row is not None]
                if base is None or not others:
                    continue
                best = max(others, key=lambda row: row["accuracy"])
                lines.append(
                    [
                        record["model"],
                        size,
                        f"{speedup:g}x",
                        f"{percent(base['accuracy'])} % at {base[batch]['speedup']:.2f}x",
                        f"{best['reduction']}: {percent(best['accuracy'])} % at "
                        f"{best[batch]['speedup']:.2f}x",
                        points(difference(record, best, base)),
                    ]
                )
    header = ["model", "batch", "at least", "keep-top", "best other", "points (95 % interval)"]
    return table(lines, header)


def verdicts(records: list[Row]) -> str:
    """For each reduction and speed-up, the models on which its interval lies above 0, or below."""
    lines = []
    for reduction in OTHERS:
        for speedup in SPEEDUPS:
            models: dict[str, list[str]] = {"above": [], "cannot tell": [], "below": []}
            for record in records:
                row = fast_enough(record, reduction, DEFAULT_BATCH, speedup)
                base = fast_enough(record, DEFAULT_REDUCTION, DEFAULT_BATCH, speedup)
                if row is None or base is None:
                    continue
                interval = difference(record, row, base)
                is_clear = interval.low > 0 or interval.high < 0
                verdict = (
                    "cannot tell" if not is_clear else "above" if interval.low > 0 else "below"
                )
                models[verdict].append(record["model"])
            cells = [", ".join(names) or "-" for names in models.values()]
            lines.append([reduction, f"{speedup:g}x", *cells])
    return table(
        lines, ["reduction", "at least", "above keep-top", "cannot tell", "below keep-top"]
    )


def recommended(folder: Path) -> str:
    """The recommended plan beside the first keep-top row that is at least as fast."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        plan = record["rows"][-1]
        for batch, size in BATCHES.items():
            if batch not in plan:
                continue
            base = fast_enough(record, DEFAULT_REDUCTION, batch, plan[batch]["speedup"])
            if base is None:
                continue
            lines.append(
                [
                    record["model"],
                    size,
                    f"{percent(plan['accuracy'])} % at {plan[batch]['speedup']:.2f}x",
                    f"{base['keep_rate']:g}: {percent(base['accuracy'])} % at "
                    f"{base[batch]['speedup']:.2f}x",
                    points(difference(record, plan, base)),
                ]
            )
    header = ["model", "batch", "recommended plan", "keep-top at keep rate"]
    return table(lines, [*header, "points (95 % interval)"])


def padding(folder: Path) -> str:
    """What the tokens that a merge removes are, at the MACs of keep-top at keep rate 0.5."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        row = [row for row in record["rows"] if row["plan"].startswith("tome")][RATES.index(0.5)]
        sound = 1 - row["padding"] - row["silent"]
        cells = [row["padding"], row["silent"], sound, row["same"], row["same_without_padding"]]
        name = [record["model"], row["plan"], f"{row['macs']:.2f}"]
        lines.append([*name, f"{row['removed']:.0f}", *map(percent, cells)])
    header = ["model", "plan", "MACs", "tokens removed", "padding", "silence", "sound", "same"]
    return table(lines, [*header, "same, padding dropped first"], "--rrrrrrr")


def few_stages(folder: Path, names: list[str]) -> str:
    """What sweeps of one plan with few stages measured."""
    lines = []
    for name in names:
        unpruned, row = json.loads((folder / name / "results.json").read_text("utf-8"))["rows"]
        lines.append(
            [
                name,
                row["clips"],
                percent(unpruned["value"]),
                percent(row["value"]),
                points(Interval(**row["difference"])),
                percent(row["agreement"]["top1"]["value"]),
                f"{row['gmacs'] / unpruned['gmacs']:.2f}",
                f"{row['speedup']:.2f}x",
            ]
        )
    header = ["model", "clips", "unpruned", "merged", "points (95 % interval)", "same", "MACs"]
    return table(lines, [*header, "speed-up"], "-rrrlrrr")


def early(folder: Path) -> str:
    """Merging at 0.41 of the MACs; `MODEL-full` has the clips that fill their window."""
    lines = []
    for path in sorted(folder.glob("*/results.json")):
        unpruned, row = json.loads(path.read_text("utf-8"))["rows"]
        name, full, _ = path.parent.name.partition("-full")
        clips = f"{row['clips']}{' that fill their window' if full else ''}"
        macs = f"{row['gmacs'] / unpruned['gmacs']:.2f}"
        accuracies = [percent(unpruned["value"]), percent(row["value"])]
        same = percent(row["agreement"]["top1"]["value"])
        lines.append([name, clips, str(Plan.from_dict(row["plan"])), macs, *accuracies, same])
    header = ["model", "clips", "plan", "MACs", "unpruned", "merged", "same"]
    return table(lines, header, "---rrrr")


def two_trainings(earlier: list[Row], later: list[Row]) -> str:
    """Accuracy of each model at keep-top's MACs, before and after a training.

    "-" where the model before the training was not measured.
    """
    lines = []
    before = {record["model"]: record for record in earlier}
    for after in later:
        pair = (before.get(after["model"], {"rows": []}), after)
        rows = [
            {(r["reduction"], r["keep_rate"]): percent(r["accuracy"]) for r in one["rows"]}
            for one in pair
        ]
        variants = [("unpruned", [1.0] * len(RATES))]
        variants += [(reduction, list(RATES)) for reduction in REDUCTION_NAMES]
        for reduction, rates in variants:
            cells = [one.get((reduction, rate), "-") for rate in rates for one in rows]
            lines.append([after["model"], reduction, *cells])
    header = ["model", "reduction"]
    header += [text for rate in RATES for text in (f"{rate:g}: before", "after")]
    return table(lines, header, "--" + "r" * 2 * len(RATES))


def two_sounds(folder: Path) -> str:
    """On scenes of two sounds: whether both are recognised, and how the last tokens are shared."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        for row in record["rows"]:
            lines.append(
                [
                    record["model"],
                    row["reduction"],
                    f"{row['keep_rate']:g}",
                    f"{row['macs']:.2f}",
                    percent(row["both"]),
                    percent(row["weaker_share"]),
                    percent(row["nearly_dropped"]),
                ]
            )
    header = ["model", "reduction", "keep rate", "MACs", "both recognised"]
    return table(lines, [*header, "share of the smaller", "under a tenth"], "--rrrrr")


def exported(records: list[Row]) -> str:
    """Time of the exported rows in ONNX Runtime."""
    lines = []
    for record in records:
        for row in record["rows"]:
            if "onnx-8" not in row:
                continue
            cells = [f"{row[key]['ms']:.2f}" for key in ("onnx-1", "onnx-8")]
            cells += [f"{row[key]['speedup']:.2f}x" for key in ("onnx-1", "onnx-8")]
            rate = "-" if row["reduction"] == "recommended" else f"{row['keep_rate']:g}"
            name = [record["model"], row["reduction"], rate]
            lines.append([*name, f"{row['macs']:.2f}", percent(row["accuracy"]), *cells])
    if not lines:
        return "Not measured yet."
    header = ["model", "reduction", "keep rate", "MACs", "accuracy", "ms, batch 1", "ms, batch 8"]
    return table(lines, [*header, "speed-up, batch 1", "batch 8"], "--rrrrrrr")


def cost(record: Row) -> str:
    """Time of each reduction on ViT-B at keep-top's MACs."""
    lines = []
    for group in record["tables"]:
        times = {row["reduction"]: row["ms"] for row in group["rows"]}
        lines += [
            [
                f"{group['model']}, stride {group['stride']}",
                group["batch_size"],
                row["reduction"],
                row["plan"],
                f"{row['macs']:.2f}",
                f"{row['ms']:.0f}",
                f"{row['speedup']:.2f}x",
                f"{row['ms'] / times[DEFAULT_REDUCTION]:.2f}",
            ]
            for row in group["rows"]
        ]
    header = ["model", "batch", "reduction", "plan", "MACs", "ms per clip", "speed-up"]
    return table(lines, [*header, "time / keep-top's"], "-r--rrrr")


def percent(fraction: float) -> str:
    """A fraction in percent without the unit."""
    return f"{100 * fraction:.1f}"


def points(interval: Interval) -> str:
    """A difference of fractions in percentage points, with its interval."""
    value, low, high = (100 * v for v in (interval.value, interval.low, interval.high))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
