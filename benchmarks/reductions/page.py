"""Write results/reductions: the page, and one figure, from the records of `measure.py`.

python benchmarks/reductions/page.py results/reductions
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from spectrim.common.files import save_text
from spectrim.metrics.intervals import difference_interval

SPEEDS = (1.5, 2.0)
KINDS = {
    "torch-1": "PyTorch, batch 1",
    "torch-8": "PyTorch, batch 8",
}
RATES = (0.7, 0.5, 0.4)  # of keep-top, in the table of accuracies
COLOURS = {
    "keep-top": "#000000",
    "evit": "#7f7f7f",
    "tome": "#0072b2",
    "pitome": "#56b4e9",
    "diffrate": "#009e73",
    "ats": "#cc79a7",
    "segments": "#e69f00",
    "adjacent": "#d55e00",
}
Row = dict[str, Any]


def flags(text: str, count: int) -> np.ndarray:
    """(clips,) bool from the hexadecimal text of a record."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(bool)


def change(record: Row, row: Row, base: Row) -> str:
    """Points between two rows with the paired 95 % interval."""
    count = record["clips"]
    difference = flags(row["correct"], count).astype(int) - flags(base["correct"], count)
    interval = difference_interval(difference)
    return f"{100 * interval.value:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def is_above(record: Row, row: Row, base: Row) -> int:
    """1: the interval of the difference lies above 0; -1: below; 0: it contains 0."""
    count = record["clips"]
    difference = flags(row["correct"], count).astype(int) - flags(base["correct"], count)
    interval = difference_interval(difference)
    return int(interval.low > 0) - int(interval.high < 0)


def slowest_that_reaches(record: Row, reduction: str, kind: str, speed: float) -> Row | None:
    """The row of a reduction that prunes least among those of this speed-up.

    It is chosen by time alone, so that accuracies of several rows do not compete.
    """
    rows = [
        row
        for row in record["rows"]
        if row["reduction"] == reduction and row.get(kind, {}).get("speedup", 0) >= speed
    ]
    return max(rows, key=lambda row: row["macs"], default=None)


def accuracy_table(records: list[Row]) -> list[str]:
    """Accuracy and unchanged top classes by reduction, at keep-top's MACs."""
    lines = []
    for record in records:
        count, full = record["clips"], flags(record["full"], record["clips"])
        unpruned = record["rows"][0]
        lines += [
            f"### {record['model']}",
            "",
            f"{count} clips. Unpruned: {100 * unpruned['accuracy']:.1f} %. Clips that fill their "
            f"window: {int(full.sum())}.",
            "",
            "| reduction | "
            + " | ".join("MACs | accuracy | same | same, full" for _ in RATES)
            + " |",
            "| --- |" + " ---: |" * (4 * len(RATES)),
        ]
        for reduction in COLOURS:
            cells = []
            for rate in RATES:
                row = next(
                    row
                    for row in record["rows"]
                    if (row["reduction"], row["keep_rate"]) == (reduction, rate)
                )
                same = flags(row["same"], count)
                full_cell = f"{100 * same[full].mean():.1f}" if full.any() else "-"
                cells += [
                    f"{row['macs']:.2f}",
                    f"{100 * row['accuracy']:.1f}",
                    f"{100 * same.mean():.1f}",
                    full_cell,
                ]
            lines.append(f"| {reduction} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def speed_table(records: list[Row]) -> list[str]:
    """Per model, kind and speed: every reduction beside keep-top at equal time."""
    lines = []
    for speed in SPEEDS:
        lines += [
            f"### At least {speed:g} times as fast as unpruned",
            "",
            "| model | time of | keep-top | best other | points against keep-top (95 % interval) |",
            "| --- | --- | --- | --- | --- |",
        ]
        for record in records:
            for kind, title in KINDS.items():
                base = slowest_that_reaches(record, "keep-top", kind, speed)
                others = {
                    reduction: row
                    for reduction in COLOURS
                    if reduction != "keep-top"
                    and (row := slowest_that_reaches(record, reduction, kind, speed))
                }
                if base is None or not others:
                    continue
                best = max(others, key=lambda name: others[name]["accuracy"])
                lines.append(
                    f"| {record['model']} | {title} | {100 * base['accuracy']:.1f} % at "
                    f"{base[kind]['speedup']:.2f}x | {best} {100 * others[best]['accuracy']:.1f} % "
                    f"at {others[best][kind]['speedup']:.2f}x | "
                    f"{change(record, others[best], base)} |"
                )
        lines.append("")
    return lines


def verdicts(records: list[Row]) -> list[str]:
    """For every reduction: on how many models its interval lies above keep-top's, or below."""
    lines = [
        "| reduction | speed-up | above keep-top | cannot tell | below keep-top |",
        "| --- | --- | --- | --- | --- |",
    ]
    for reduction in COLOURS:
        if reduction == "keep-top":
            continue
        for speed in SPEEDS:
            groups: dict[int, list[str]] = {1: [], 0: [], -1: []}
            for record in records:
                row = slowest_that_reaches(record, reduction, "torch-8", speed)
                base = slowest_that_reaches(record, "keep-top", "torch-8", speed)
                if row is not None and base is not None:
                    groups[is_above(record, row, base)].append(record["model"])
            cells = [", ".join(groups[sign]) or "-" for sign in (1, 0, -1)]
            lines.append(f"| {reduction} | {speed:g}x | " + " | ".join(cells) + " |")
    return lines


def cost_table(cost: Row) -> list[str]:
    """Time of the reductions on ViT-B at keep-top's MACs."""
    lines = ["| model | batch | reduction | plan | MACs | ms per clip | speed-up |"]
    lines.append("| --- | ---: | --- | --- | ---: | ---: | ---: |")
    for table in cost["tables"]:
        for row in table["rows"]:
            lines.append(
                f"| {table['model']}, stride {table['stride']} | {table['batch_size']} | "
                f"{row['reduction']} | {row['plan']} | {row['macs']:.2f} | {row['ms']:.0f} | "
                f"{row['speedup']:.2f}x |"
            )
    return lines


def figure(records: list[Row], path: Path) -> None:
    """Accuracy against measured time, one panel per model."""
    columns = 2
    count = -(-len(records) // columns)
    _, panels = plt.subplots(
        count, columns, figsize=(10, 3.6 * count), squeeze=False, layout="constrained"
    )
    for panel, record in zip(panels.flat, records, strict=False):
        for reduction, colour in COLOURS.items():
            rows = [row for row in record["rows"] if row["reduction"] == reduction]
            rows = sorted(
                (row for row in rows if "torch-8" in row), key=lambda r: r["torch-8"]["ms"]
            )
            panel.plot(
                [row["torch-8"]["ms"] for row in rows],
                [100 * row["accuracy"] for row in rows],
                marker="o",
                markersize=3,
                linewidth=2 if reduction == "keep-top" else 1,
                color=colour,
                label=reduction,
            )
        unpruned = record["rows"][0]
        panel.plot(unpruned["torch-8"]["ms"], 100 * unpruned["accuracy"], "k*", markersize=10)
        panel.axhline(100 * unpruned["accuracy"], color="0.8", linewidth=0.8, zorder=0)
        panel.set_title(f"{record['model']} ({record['clips']} clips; star: unpruned)")
        panel.set_xlabel("ms per clip, PyTorch, batch 8")
        panel.set_ylabel("accuracy (%)")
        low = 100 * unpruned["accuracy"] - 25
        panel.set_ylim(bottom=max(panel.get_ylim()[0], low))
    for panel in panels.flat[len(records) :]:
        panel.set_axis_off()
    panels.flat[0].legend(fontsize=7, ncols=2)
    plt.savefig(path, dpi=110)


def main() -> None:
    """Read the records of a folder, and write its page and figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != "cost.json"
    ]
    cost = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    text = (folder / "text.md").read_text(encoding="utf-8")
    tables = {
        "ACCURACY": accuracy_table(records),
        "SPEED": speed_table(records),
        "VERDICTS": verdicts(records),
        "COST": cost_table(cost),
        "MACHINE": [
            f"{cost['machine']['processor']}, {cost['machine']['threads']} threads, Python "
            f"{cost['machine']['python']}, torch {cost['machine']['torch']}"
        ],
    }
    for name, lines in tables.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(lines).rstrip())
    save_text(folder / "README.md", text)
    figure(records, folder / "accuracy-time.png")


if __name__ == "__main__":
    main()
