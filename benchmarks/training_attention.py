"""Training speed of PyTorch's fused and plain attention kernels on a CPU.

    python benchmarks/training_attention.py [--rounds 15] [--threads 1] [--out FILE]

Times forward and backward passes of tiny models (width 128) on random log-mel, for several lengths
and precisions. Pairs are interleaved in one process, and ratios are medians of the pairwise ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from spectrim.common.files import save_json
from spectrim.evaluation.timing import interleaved
from spectrim.models.build import create
from spectrim.models.provenance import versions
from spectrim.models.transformer import SpectrogramTransformer


def step(
    model: SpectrogramTransformer, batch: torch.Tensor, bf16: bool, kernel: SDPBackend
) -> Callable[[], None]:
    """A call that does one forward and backward pass."""

    def call() -> None:
        with sdpa_kernel(kernel), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(batch).square().mean()
        loss.backward()
        model.zero_grad(set_to_none=True)

    return call


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a length and precision")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for frames in args.frames:
        model = create("ast-tiny", frames=frames).train()
        batch = torch.randn(args.batch * 128 // frames or 1, frames, 128)
        for bf16 in (True, False):
            kernels = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
            calls = [step(model, batch, bf16, kernel) for kernel in kernels]
            fused, plain = interleaved(calls, args.rounds, args.budget, least=3)
            rows.append(
                {
                    "patches": frames // 2,
                    "batch": len(batch),
                    "precision": "bf16" if bf16 else "float32",
                    "fused_clips_per_s": len(batch) / fused.seconds,
                    "plain_clips_per_s": len(batch) / plain.seconds,
                    "plain_times_as_fast": plain.speedup,
                }
            )
            print({key: round(v, 2) if isinstance(v, float) else v for key, v in rows[-1].items()})
    if args.out:
        save_json(args.out, {"rows": rows, "threads": args.threads, "versions": versions()})


if __name__ == "__main__":
    main()
