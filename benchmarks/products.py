"""GMAC/s of the linear layers by number of rows: why pruned batches of one gain less than MACs.

    python benchmarks/products.py [--rounds 12] [--threads 2] [--out FILE]

The four linear layers of twelve ViT-B blocks, one after the other, on as many rows as a clip has
tokens before and after prunings at keep rate 0.5. Two versions: torch (MKL), and oneDNN
with weights packed beforehand. Timings are interleaved; the figures are medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from spectrim.common.files import save_json
from spectrim.evaluation.timing import interleaved
from spectrim.models.provenance import versions

SHAPES = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
ROWS = (513, 257, 129, 65)


def calls(rows: int, layers: list[list[tuple[torch.Tensor, ...]]]) -> list[Callable[[], None]]:
    """Two calls that compute all layers, with MKL and with oneDNN."""
    inputs = [torch.randn(1, rows, width) for width, _ in SHAPES]

    def plain() -> None:
        for layer in layers:
            for x, (weight, bias, _) in zip(inputs, layer, strict=True):
                functional.linear(x, weight, bias)

    def packed() -> None:
        for layer in layers:
            for x, (_, bias, weight) in zip(inputs, layer, strict=True):
                torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    return [plain, packed]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    layers = [
        [
            (weight, torch.randn(outputs), torch.ops.mkldnn._reorder_linear_weight(weight, None))
            for inputs, outputs in SHAPES
            for weight in [torch.randn(outputs, inputs)]
        ]
        for _ in range(12)
    ]
    macs = 12 * sum(inputs * outputs for inputs, outputs in SHAPES)
    with torch.inference_mode():
        timings = interleaved([c for rows in ROWS for c in calls(rows, layers)], args.rounds)
    rows = [
        {
            "rows": count,
            "product": product,
            "ms": timing.seconds * 1e3,
            "gmac_per_s": macs * count / timing.seconds / 1e9,
        }
        for (count, product), timing in zip(
            [(count, product) for count in ROWS for product in ("MKL", "oneDNN, packed")],
            timings, strict=True,
        )
    ]  # fmt: skip
    for row in rows:
        print(f"{row['rows']:4} rows, {row['product']:14} {row['ms']:6.1f} ms"
              f" {row['gmac_per_s']:5.0f} GMAC/s")  # fmt: skip
    if args.out:
        save_json(args.out, {"rows": rows, "threads": args.threads, "versions": versions()})


if __name__ == "__main__":
    main()
