"""Measure cost and time of every backbone, unpruned and pruned, for docs/prune-your-model.md.

    python benchmarks/backbones.py --out results/speed/backbones.json \\
        --page docs/prune-your-model.md

The presets have random weights, and their input is noise that fills the window. Neither changes
the time. Feature extraction is not timed. Each round times every keep rate of a preset. Times are
medians over rounds, and speed-ups are medians of the ratios within a round. Batch size 1 comes
first. The large batch is timed only for the presets in LARGE_BATCH. Their speed-up is compared with
the ratio of multiply-accumulates.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrim
from fill_page import filled
from spectrim.common.files import save_json, save_text
from spectrim.common.markdown import table
from spectrim.evaluation.timing import interleaved
from spectrim.models.provenance import machine_of, versions
from spectrim.models.transformer import SpectrogramTransformer

PRESETS = (
    "ast-base", "audiomae-base", "ced-tiny", "ced-mini", "ced-small", "ced-base", "eat-base",
    "passt-s10", "passt-s16", "maest-10s", "maest-30s", "ssast-base",
)  # fmt: skip
LARGE_BATCH = ("ced-base", "eat-base", "passt-s10", "maest-30s")
KEEP_RATES = (1.0, 0.7, 0.5)


def noise(model: SpectrogramTransformer, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of noise that fills the window, (batch, frames, mels), and the valid frames."""
    rng = np.random.default_rng(0)
    shape = (batch_size, model.config.window_samples)
    waveforms = list(rng.normal(0, 0.1, shape).astype(np.float32))
    return model.features_from_waveforms(waveforms)


def measure(preset: str, batch_size: int, rounds: int, budget: float) -> dict[str, Any]:
    """Measure MACs and times of one preset at all keep rates."""
    torch.manual_seed(0)
    model = spectrim.create(preset).eval()
    models = [spectrim.prune(model, keep_rate=rate).eval() for rate in KEEP_RATES]
    features, valid = noise(model, batch_size)
    with torch.inference_mode():
        timings = interleaved(
            [partial(pruned, features, valid) for pruned in models], rounds, budget, least=3
        )
    return {
        "preset": preset,
        "batch_size": batch_size,
        "window_s": model.config.window_seconds,
        "patches": model.config.grid.count,
        "attention": "class row" if model.config.has_class_token else "column mean",
        "rows": [
            {
                "keep_rate": rate,
                "gmacs": spectrim.macs(pruned) / 1e9,
                "ms": 1000 * timing.seconds / batch_size,
                "speedup": timing.speedup,
                "rounds": timing.rounds,
            }
            for rate, pruned, timing in zip(KEEP_RATES, models, timings, strict=True)
        ],
    }


def costs(results: list[dict[str, Any]], batch_size: int) -> str:
    """The table of all presets: GMACs, milliseconds unpruned, speed-ups."""
    header = ["preset", "window", "patches", "GMACs at 1.0", "0.7", "0.5"]
    header += ["ms at 1.0", "speed-up at 0.7", "0.5", "attention score"]
    lines = []
    for one in results:
        if one["batch_size"] != batch_size:
            continue
        unpruned, *pruned = one["rows"]
        name = f"`{one['preset']}`" + (" (SSLAM)" if one["preset"] == "eat-base" else "")
        lines.append(
            [name, f"{one['window_s']:.3g} s", f"{one['patches']:,}"]
            + [f"{row['gmacs']:.3g}" for row in one["rows"]]
            + [f"{unpruned['ms']:,.0f}", *(f"{row['speedup']:.2f}x" for row in pruned)]
            + [one["attention"]]
        )
    return table(lines, header, "lrrrrrrrrl")


def shares(results: list[dict[str, Any]], batch_size: int) -> str:
    """The table of the large batch: the speed-up beside the ratio of MACs."""
    header = ["preset", "keep rate", "ms per clip", "speed-up", "ratio of MACs", "share"]
    lines = []
    for one in results:
        if one["batch_size"] != batch_size:
            continue
        unpruned = one["rows"][0]
        for row in one["rows"][1:]:
            ratio = unpruned["gmacs"] / row["gmacs"]
            speedup = row["speedup"]
            cells = [f"`{one['preset']}`", row["keep_rate"], f"{row['ms']:,.0f}"]
            lines.append([*cells, f"{speedup:.2f}x", f"{ratio:.2f}", f"{speedup / ratio:.2f}"])
    return table(lines, header, "lrrrrr")


def main() -> None:
    """Measure, print, write JSON and fill the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--large-batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=12.0, help="seconds per preset, batch 1")
    parser.add_argument("--large-budget", type=float, default=60.0, help="the same, large batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path, help="Markdown page whose marks are filled")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    jobs = [(preset, 1, args.budget) for preset in args.presets]
    large = [preset for preset in LARGE_BATCH if preset in args.presets]
    jobs += [(preset, args.large_batch, args.large_budget) for preset in large]
    results: list[dict[str, Any]] = []
    for preset, batch_size, budget in jobs:
        results.append(measure(preset, batch_size, args.rounds, budget))
        record = {"results": results, "threads": args.threads, "versions": versions()}
        save_json(args.out, record)
        times = ", ".join(f"{row['ms']:.0f}" for row in results[-1]["rows"])
        print(f"{preset}, batch {batch_size}: {times} ms per clip", flush=True)
    if args.page:
        text = args.page.read_text(encoding="utf-8")
        context = f"\n\n{machine_of(record)}, torch {record['versions']['torch']}."
        text = filled(text, costs(results, 1) + context, "backbones")
        text = filled(text, shares(results, args.large_batch), "backbones-large-batch")
        save_text(args.page, text)


if __name__ == "__main__":
    main()
