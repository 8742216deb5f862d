"""Draw the curves of training runs: loss and metric by epoch, the keep-rate where it falls.

python tools/curves.py runs/esc10 runs/fsdd-digit --out docs/training-curves.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from spectrim.common.files import save

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"  # Okabe and Ito's


def panel(axes: tuple[plt.Axes, plt.Axes], run: Path) -> None:
    """Loss above, metric below."""
    rows = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    epochs = [row["epoch"] for row in rows]
    axes[0].plot(epochs, [row["loss"] for row in rows], color=GREY)
    axes[0].set_title(run.name, fontsize=10)
    for name, colour in (("valid", BLUE), ("test", ORANGE)):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if points:
            axes[1].plot(*zip(*points, strict=True), color=colour, label=name)
    if any(row["keep_rate"] < 1 for row in rows):
        rates = [row["keep_rate"] for row in rows]
        axes[1].plot(epochs, rates, color=GREEN, linestyle="--", label="keep-rate")
    axes[1].set_ylim(0, 1.02)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].set_xlabel("epoch")
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes[1].lines:
        axes[1].legend(loc="lower right", fontsize=8, frameon=False)
    else:
        axes[1].set_axis_off()


def main() -> None:
    """Parse, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    size = (2.6 * len(args.runs), 4.6)
    figure, grid = plt.subplots(2, len(args.runs), figsize=size, sharex="col", squeeze=False)
    for column, run in enumerate(args.runs):
        panel((grid[0][column], grid[1][column]), run)
    grid[0][0].set_ylabel("training loss")
    grid[1][0].set_ylabel("accuracy, or mAP")
    figure.tight_layout()
    save(args.out, lambda aside: figure.savefig(aside, dpi=110))


if __name__ == "__main__":
    main()
