"""Fill the tables of results/reductions/README.md, and draw its figure, from the records there.

    PYTHONPATH=benchmarks python benchmarks/reductions/page.py results/reductions

`NAME.json` and `cost.json` are records of `measure.py`, and `few-stages/NAME/results.json` of
`spectrim sweep`. The page names the commands.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import tables

from fill_page import filled
from spectrim.common.files import save_text
from spectrim.common.palette import GREY, series_styles
from spectrim.models.provenance import machine_of
from spectrim.pruning.defaults import DEFAULT_REDUCTION, REDUCTION_NAMES


def figure(records: list[tables.Row], path: Path) -> None:
    """Accuracy against measured time, one panel for each model."""
    columns = 2
    height = -(-len(records) // columns)
    _, panels = plt.subplots(
        height, columns, figsize=(10, 3.6 * height), squeeze=False, layout="constrained"
    )
    # Six colours; a reduction that keeps the same patches as keep-top is grey.
    styles = series_styles(name for name in tables.OTHERS if name != "evit")
    styles |= {DEFAULT_REDUCTION: ("black", "o"), "evit": (GREY, "x")}
    for panel, record in zip(panels.flat, records, strict=False):
        for reduction in REDUCTION_NAMES:
            colour, marker = styles[reduction]
            rows = [row for row in record["rows"] if row["reduction"] == reduction]
            rows.sort(key=lambda row: row[tables.DEFAULT_BATCH]["ms"])
            panel.plot(
                [row[tables.DEFAULT_BATCH]["ms"] for row in rows],
                [100 * row["accuracy"] for row in rows],
                color=colour, marker=marker, markersize=3, label=reduction,
                linewidth=2 if reduction == DEFAULT_REDUCTION else 1,
            )  # fmt: skip
        frontier(panel, record["rows"])
        unpruned = record["rows"][0]
        accuracy = 100 * unpruned["accuracy"]
        panel.plot(unpruned[tables.DEFAULT_BATCH]["ms"], accuracy, "k*", markersize=10)
        panel.axhline(accuracy, color="0.8", linewidth=0.8, zorder=0)
        panel.set_title(f"{record['model']} ({record['clips']} clips; star: unpruned)")
        panel.set_xlabel("ms per clip, PyTorch, batch 8")
        panel.set_ylabel("accuracy (%)")
        panel.set_ylim(bottom=max(panel.get_ylim()[0], accuracy - 25))
    for panel in panels.flat[len(records) :]:
        panel.set_axis_off()
    panels.flat[0].legend(fontsize=7, ncols=2)
    plt.savefig(path, dpi=110)


def frontier(panel: Any, rows: list[tables.Row]) -> None:
    """Draw the highest accuracy that any row reaches within a time."""
    times = sorted(row[tables.DEFAULT_BATCH]["ms"] for row in rows)
    best = [
        max(row["accuracy"] for row in rows if row[tables.DEFAULT_BATCH]["ms"] <= time)
        for time in times
    ]
    panel.step(
        times, [100 * accuracy for accuracy in best], where="post",
        color="0.85", linewidth=5, zorder=0, label="frontier",
    )  # fmt: skip


def read(folder: Path) -> list[tables.Row]:
    """The records of a folder, by model."""
    paths = sorted(path for path in folder.glob("*.json") if path.name != "cost.json")
    return [json.loads(path.read_text("utf-8")) for path in paths]


def main() -> None:
    """Read the records of a folder, fill its page and draw its figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    records = read(folder)
    cost_record = json.loads((folder / "cost.json").read_text("utf-8"))
    names = [record["model"] for record in records]
    elastic = read(folder / "elastic")
    texts = {
        "equal-macs": "\n\n".join(tables.equal_macs(record) for record in records),
        "equal-time": tables.equal_time(records),
        "verdicts": tables.verdicts(records),
        "few-stages": tables.few_stages(folder / "few-stages", names),
        "recommended": tables.recommended(folder / "recommended"),
        "padding": tables.padding(folder / "padding"),
        "early": tables.early(folder / "early"),
        "elastic": tables.two_trainings(records, elastic),
        "aligned": tables.two_trainings(elastic, read(folder / "aligned")),
        "two-sounds": tables.two_sounds(folder / "two-sounds"),
        "exported": tables.exported(records),
        "exported-recommended": tables.exported(read(folder / "recommended")),
        "cost": tables.cost(cost_record),
        "machine": f"{machine_of(cost_record)}, torch {cost_record['versions']['torch']}.",
    }
    page = (folder / "README.md").read_text("utf-8")
    for name, text in texts.items():
        page = filled(page, text, name)
    save_text(folder / "README.md", page)
    figure(records, folder / "accuracy-time.png")


if __name__ == "__main__":
    main()
