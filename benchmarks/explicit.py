"""Cost of the explicit softmax in a ranking block: fused, all maps at once, few at a time.

python benchmarks/explicit.py [--tokens 514 1214] [--batch 8] [--rounds 9] [--out FILE]
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
from spectrim.pruning import attention
from spectrim.pruning.attention import Attention, explicit_attention
from spectrim.pruning.tokens import Tokens

SHIPPED = attention.MAP_ELEMENTS


def explicit(a: Attention, tokens: Tokens, elements: int) -> Callable[[], object]:
    """A call that computes maps of `elements` elements at a time."""

    def call() -> object:
        attention.MAP_ELEMENTS = elements
        return explicit_attention(a, tokens)

    return call


def main() -> None:
    """Measure one ViT-B attention on random queries, keys and values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[514, 1214])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for count in args.tokens:
        packed = torch.randn(args.batch, count, 3 * 768)
        q, k, v = packed.unflatten(2, (3, 12, 64)).permute(2, 0, 3, 1, 4)
        origin = torch.arange(count - 2).expand(args.batch, -1)
        tokens = Tokens(packed[..., :768], 2, origin)

        a = Attention(q, k, v, None)
        names = ["fused", "explicit, all maps at once", "explicit, as shipped"]
        calls = [
            lambda q=q, k=k, v=v: functional.scaled_dot_product_attention(q, k, v),
            explicit(a, tokens, 10**12),
            explicit(a, tokens, SHIPPED),
        ]
        with torch.inference_mode():
            timings = interleaved(calls, args.rounds)
        for name, timing in zip(names, timings, strict=True):
            ms, of_fused = timing.seconds * 1e3, 1 / timing.speedup
            rows.append({"tokens": count, "attention": name, "ms": ms, "of_fused": of_fused})
            print(f"{count} tokens: {name:28s} {ms:7.1f} ms  {of_fused:.2f} of fused")
    record = {"batch": args.batch, "threads": args.threads, "versions": versions()}
    if args.out:
        save_json(args.out, {"rows": rows, **record})


if __name__ == "__main__":
    main()
