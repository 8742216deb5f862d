"""Candidates for the parts of a pruned forward pass that need a GPU's own way.

The attention that patches receive (AudioMAE's score), each candidate against the definition in
float64 and timed beside fused attention alone; the backends of fused attention; ranking; feature
extraction by FFT and by matrix product; patch embedding by convolution and by matrix product; and
whole models with each candidate.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

if "TRITON_INTERPRET" not in os.environ and not os.path.exists("/dev/nvidia0"):
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are defined

import torch
from flex import attention_with_received
from piece import Piece
from speed import Group, Models, Subject, captured
from timing import interleaved
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import spectrim
from spectrim.pruning import attention
from spectrim.pruning.attention import Attention, class_row, explicit_attention
from spectrim.pruning.ranking import sort_keys
from spectrim.pruning.tokens import Tokens

HEADS, WIDTH, PREFIX = 12, 64, 1  # of AudioMAE base
SHAPES = [  # patches, batch, dtype
    (512, 128, torch.bfloat16),
    (1212, 128, torch.bfloat16),
    (512, 32, torch.bfloat16),
    (1212, 32, torch.bfloat16),
    (512, 32, torch.float32),
    (1212, 32, torch.float32),
]
FLEX = [SHAPES[0], SHAPES[1], SHAPES[4]]  # flex_attention is compiled for each shape
TILES: dict[torch.dtype, list[tuple[int, int, str, int, int]]] = {
    # rows, columns, precision, warps, stages
    torch.bfloat16: [
        (128, 64, "ieee", 4, 3), (64, 64, "ieee", 4, 3), (64, 128, "ieee", 4, 3),
        (128, 128, "ieee", 8, 3), (128, 64, "ieee", 8, 3), (64, 64, "ieee", 4, 4),
    ],
    torch.float32: [
        (64, 64, "tf32x3", 4, 2), (32, 32, "ieee", 4, 2), (64, 128, "tf32x3", 8, 2),
    ],
}  # fmt: skip
HAS_TRITON = importlib.util.find_spec("triton") is not None


def make(
    device: torch.device, patches: int, batch: int, dtype: torch.dtype, uneven: bool = False
) -> tuple[Attention, Tokens]:
    """Random queries, keys and values as a block makes them."""
    heads = HEADS if device.type == "cuda" else 2
    qkv = torch.randn(batch, patches + PREFIX, 3, heads, WIDTH, device=device).to(dtype)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    sizes = present = None
    if uneven:
        sizes = torch.randint(1, 5, (batch, patches), device=device).float()
        present = torch.rand(batch, patches, device=device) < 0.7
        present[0, patches // 3 :] = False
        present[:, 0] = True
    origin = torch.arange(patches, device=device).expand(batch, -1)
    x = torch.zeros(batch, patches + PREFIX, 1, dtype=dtype, device=device)
    tokens = Tokens(x, PREFIX, origin, sizes=sizes, present=present)
    return Attention(q, k, v, tokens.bias()), tokens


def definition(a: Attention, tokens: Tokens) -> Tensor:
    """(batch, patches) column mean of the whole map in float64."""
    logits = a.q.double() @ a.k.double().transpose(2, 3) / a.q.shape[-1] ** 0.5
    weights = (logits if a.bias is None else logits + a.bias.double()).softmax(-1)
    patches = weights[:, :, PREFIX:, PREFIX:]
    count: Tensor | int = tokens.count
    if tokens.present is not None:
        patches = patches * tokens.present[:, None, :, None]
        count = tokens.present.sum(1, keepdim=True)
    return patches.sum(2).mean(1) / count


@contextmanager
def method(name: str) -> Iterator[None]:
    """Let attention use Triton's kernels, or the softmaxed map in tiles."""
    before = attention._has_kernel
    attention._has_kernel = lambda a: name == "triton"
    try:
        yield
    finally:
        attention._has_kernel = before


def by(name: str, a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Output and received attention by one candidate."""
    if name == "flex":
        return attention_with_received(a, tokens)
    with method(name):
        return explicit_attention(a, tokens)


def exactness(piece: Piece, name: str) -> dict[str, Any]:
    """Relative error of one candidate, with and without sizes and absent patches."""
    result = {}
    dtypes = [torch.float32] if piece.device.type == "cpu" else list(TILES)
    for dtype in dtypes:
        for uneven in (False, True):
            a, tokens = make(piece.device, 75 if piece.rehearsal else 1212, 2, dtype, uneven)
            exact = definition(a, tokens)
            mixed, received = by(name, a, tokens)
            fused = functional.scaled_dot_product_attention(a.q, a.k, a.v, attn_mask=a.bias)
            kind = f"{str(dtype).removeprefix('torch.')}{', uneven' if uneven else ''}"
            result[kind] = {
                "received": float((received - exact).norm() / exact.norm()),
                "largest_relative": float(((received - exact).abs() / exact.clamp(1e-30)).max()),
                "output_from_fused": float((mixed - fused).norm() / fused.norm()),
                "repeats_bitwise": bool(torch.equal(by(name, a, tokens)[1], received)),
            }
            if not result[kind]["received"] < 0.02:
                raise RuntimeError(f"{name}, {kind}: {result[kind]}")
    return result


def shape(
    piece: Piece, names: list[str], patches: int, batch: int, dtype: torch.dtype
) -> dict[str, Any]:
    """Candidates beside fused attention alone, in milliseconds."""
    a, tokens = make(piece.device, patches, batch, dtype)
    calls: dict[str, Callable[[], object]] = {
        "fused attention alone": lambda: functional.scaled_dot_product_attention(a.q, a.k, a.v)
    }
    calls |= {name: functools.partial(by, name, a, tokens) for name in names}
    if "triton" in names and not piece.rehearsal:
        calls |= stages(a, dtype)
    return interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.5)))


def stages(a: Attention, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The kernels one by one, and flash attention that also returns its log-sum-exp."""
    from spectrim.pruning import kernels

    q, k = a.q[:, :, PREFIX:], a.k[:, :, PREFIX:]
    sums = kernels.row_log_sums(q, a.k, None)
    calls: dict[str, Callable[[], object]] = {
        "row_log_sums": lambda: kernels.row_log_sums(q, a.k, None),
        "column_sums": lambda: kernels.column_sums(q, k, None, sums),
    }
    if dtype != torch.float32:

        def flash() -> object:
            out = torch.ops.aten._scaled_dot_product_flash_attention(a.q, a.k, a.v)
            return kernels.column_sums(q, k, None, out[1][:, :, PREFIX:])

        calls["flash with its log-sum-exp, column_sums"] = flash
    return calls


def tiles(piece: Piece, dtype: torch.dtype) -> dict[str, Any]:
    """Other tiles of the kernels: milliseconds of each."""
    from spectrim.pruning import kernels

    a, _ = make(piece.device, 512, 32 if dtype == torch.float32 else 128, dtype)
    q, k = a.q[:, :, PREFIX:], a.k[:, :, PREFIX:]
    exact = definition(*make_few(a))
    before, rows = kernels.TILES[dtype], {}
    try:
        for entry in TILES[dtype]:
            keys = ("ROWS", "COLUMNS", "PRECISION", "num_warps", "num_stages")
            kernels.TILES[dtype] = dict(zip(keys, entry, strict=True))  # type: ignore[arg-type]
            sums = kernels.row_log_sums(q, a.k, None)
            calls = {
                "row_log_sums": functools.partial(kernels.row_log_sums, q, a.k, None),
                "column_sums": functools.partial(kernels.column_sums, q, k, None, sums),
            }
            times = interleaved(calls, piece.device, 10, 0.3)
            few = kernels.column_sums(q[:2], k[:2], None, sums[:2]).mean(1) / 512
            rows[" ".join(map(str, entry))] = {
                "row_log_sums_ms": times["row_log_sums"]["ms"],
                "column_sums_ms": times["column_sums"]["ms"],
                "error": float((few - exact).norm() / exact.norm()),
            }
    finally:
        kernels.TILES[dtype] = before
    return rows


def class_rows(piece: Piece, batch: int) -> dict[str, Any]:
    """AST's score by the kernels and by PyTorch's operations, and its error from float64."""
    dtype = torch.float32 if piece.rehearsal else torch.bfloat16
    a, tokens = make(piece.device, 40 if piece.rehearsal else 512, batch, dtype)

    def run(name: str) -> Tensor:
        with method(name):
            return class_row(a, tokens)

    names = ["tiles", "triton"] if HAS_TRITON else ["tiles"]
    calls = {name: functools.partial(run, name) for name in names}
    times = interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.3)))
    logits = (a.k[:2].double() @ a.q[:2, :, 0, :, None].double())[..., 0] / WIDTH**0.5
    exact = logits.softmax(-1).mean(1)[:, PREFIX:]
    for name, call in calls.items():
        times[name]["error"] = float((call()[:2] - exact).norm() / exact.norm())
    return times


def make_few(a: Attention) -> tuple[Attention, Tokens]:
    """The first two clips."""
    few = Attention(a.q[:2], a.k[:2], a.v[:2], None)
    patches = a.q.shape[2] - PREFIX
    origin = torch.arange(patches, device=a.q.device).expand(2, -1)
    return few, Tokens(a.q.new_zeros(2, patches + PREFIX, 1), PREFIX, origin)


def backends(piece: Piece, patches: int, batch: int) -> dict[str, Any]:
    """Fused attention by PyTorch's backends, bf16."""
    a, _ = make(piece.device, patches, batch, torch.bfloat16)

    def run(backend: SDPBackend | None) -> object:
        if backend is None:
            return functional.scaled_dot_product_attention(a.q, a.k, a.v)
        with sdpa_kernel(backend):
            return functional.scaled_dot_product_attention(a.q, a.k, a.v)

    kinds = {"default": None, "math": SDPBackend.MATH} if piece.rehearsal else {
        "default": None,
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
    }  # fmt: skip
    calls = {name: functools.partial(run, kind) for name, kind in kinds.items()}
    return interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.3)))


def ranking(piece: Piece, patches: int, batch: int) -> dict[str, Any]:
    """Half of the patches by score, ties by index."""
    scores = torch.randn(batch, patches, device=piece.device)
    index = torch.arange(patches, device=piece.device).expand(batch, -1)
    count = patches // 2

    def two_sorts() -> Tensor:
        by_index = index.argsort(1)
        by_score = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
        return by_index.gather(1, by_score)[:, :count]

    calls: dict[str, Callable[[], Tensor]] = {
        "two stable sorts": two_sorts,
        "keys, sort": lambda: sort_keys(scores, index).argsort(1, descending=True)[:, :count],
        "keys, top-k": lambda: sort_keys(scores, index).topk(count, dim=1).indices,
        "keys alone": lambda: sort_keys(scores, index),
        "top-k of scores, ties open": lambda: scores.topk(count, dim=1).indices,
    }
    for name in ("keys, sort", "keys, top-k"):
        if not torch.equal(calls[name](), two_sorts()):
            raise RuntimeError(f"{name} gives another order")
    times = interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.3)))
    if piece.device.type == "cuda":
        replays = {name: captured(call) for name, call in calls.items()}
        for name, row in interleaved(replays, piece.device, 15, 0.3).items():
            times[name]["graph_ms"] = row["ms"]
    return times


def front_end(piece: Piece, batch: int) -> dict[str, Any]:
    """Waveforms on the device to features by FFT and by matrix product; errors from float64."""
    seconds = 1 if piece.rehearsal else 10
    model = spectrim.create("ast-tiny", frames=128).to(piece.device)
    bank = model.filterbank
    time = torch.arange(seconds * 16_000, device=piece.device) / 16_000
    rumble = 0.3 * torch.sin(2 * torch.pi * 30 * time)
    sounds = torch.randn(batch, len(time), device=piece.device) * 1e-3 + rumble
    lengths = torch.full((batch,), len(time), device=piece.device)
    calls: dict[str, Callable[[], Tensor]] = {
        "product": lambda: bank._log_mel(sounds, lengths),
        "FFT": lambda: bank._log_mel_by_fft(sounds, lengths),
    }
    times = interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.5)))
    fewer = sounds[:2].double().cpu(), lengths[:2].cpu()
    exact = in_float64(*fewer)
    before = torch.get_float32_matmul_precision()
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        try:
            for name, call in calls.items():
                gap = (call()[:2].double().cpu() - exact).abs()
                times[name][f"largest_error_{precision}"] = float(gap.max())
        finally:
            torch.set_float32_matmul_precision(before)
    return times


def in_float64(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """The FFT of the filter bank with everything in float64, on the CPU."""
    from spectrim.audio.filterbank import FilterBank, hann_window

    bank = FilterBank()
    bank.window, bank.mel = hann_window(), bank.mel.double()
    return bank._log_mel_by_fft(waveforms, lengths)


def embedding(piece: Piece, stride: int, batch: int, dtype: torch.dtype) -> dict[str, Any]:
    """Patch embedding by convolution (with cuDNN's TF32 and without) and by matrix product."""
    models = Models(piece, stride)
    size = "tiny" if piece.rehearsal else "base"
    model = spectrim.create(f"audiomae-{size}", stride=stride, frames=models.frames)
    model = model.to(piece.device, dtype)
    features = torch.randn(batch, models.frames, 128, device=piece.device)

    def convolution() -> Tensor:
        embedded = model.patch(features[:, None].to(dtype))
        return model.grid.flatten(embedded.permute(0, 2, 3, 1))

    def product() -> Tensor:
        patches = model.grid.cut(features.to(dtype))
        return functional.linear(patches, model.patch.weight.flatten(1), model.patch.bias)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = convolution()
    calls = {"convolution": convolution, "product": product}
    times = interleaved(calls, piece.device, *((2, 0, 2) if piece.rehearsal else (15, 0.3)))
    for name, call in calls.items():
        times[name]["error"] = float((call() - exact).float().norm() / exact.float().norm())
    return times


def whole(piece: Piece, models: Models, batch: int) -> dict[str, Any]:
    """AudioMAE at keep rate 0.5 by each candidate beside AST, eager and as a CUDA graph."""
    group = Group(piece, models, batch)
    subjects: list[Subject] = [("ast", 1.0), ("ast", 0.5), ("audiomae", 1.0), ("audiomae", 0.5)]
    for subject in subjects:
        group.model(subject)
        group.graph(subject)
    result = group.timed(1.5)
    candidates = ["tiles", "triton"] if HAS_TRITON else ["tiles"]
    model = models.pruned(("audiomae", 0.5))

    def run(name: str) -> Tensor:
        with method(name):
            return model(group.features, group.valid)

    calls = {name: functools.partial(run, name) for name in candidates}
    result["audiomae 0.5 by candidate"] = interleaved(calls, piece.device, 10, 1.0)
    return result


def case_name(kind: str, patches: int, batch: int, dtype: torch.dtype) -> str:
    """Name of a case of a shape."""
    return f"{kind}, {patches} patches, batch {batch}, {str(dtype).removeprefix('torch.')}"


def main() -> None:
    """Measure the most informative cases first."""
    piece = Piece(__file__, __doc__)
    torch.manual_seed(0)
    part, tiny = functools.partial, piece.rehearsal
    torch._dynamo.config.recompile_limit = 64
    candidates = ["tiles", "triton"] if HAS_TRITON else ["tiles"]
    if not HAS_TRITON:
        piece.skip("triton", "triton is not installed.")
    plan: list[tuple[str, Callable[[], Any], float]] = [
        (f"exactness, {name}", part(exactness, piece, name), 4) for name in candidates
    ]
    shapes = [(40, 1, torch.float32)] if tiny else SHAPES
    sizes = [(40, 2)] if tiny else [(512, 128), (1212, 128), (512, 1)]
    strides = {16: Models(piece, 16)} if tiny else {s: Models(piece, s) for s in (16, 10)}
    for sized in shapes:
        plan.append((case_name("received", *sized), part(shape, piece, candidates, *sized), 4))
    plan.append(("class row, 512 patches", part(class_rows, piece, 2 if tiny else 128), 2))
    for patches, batch in sizes:
        plan.append(
            (f"ranking, {patches} patches, batch {batch}", part(ranking, piece, patches, batch), 2)
        )
    batch = 1 if tiny else 128
    plan.append(("front end", part(front_end, piece, batch), 2))
    for stride, models in strides.items():
        name = f"models, stride {stride}, batch {batch}"
        plan.append((name, part(whole, piece, models, batch), 8))
    plan.append(("models, stride 16, batch 1", part(whole, piece, strides[16], 1), 6))
    for patches, count in sizes[:2]:
        name = f"fused attention, {patches} patches, batch {count}"
        plan.append((name, part(backends, piece, patches, count), 2))
    for stride in strides:
        for dtype in (torch.bfloat16, torch.float32):
            name = f"patch embedding, stride {stride}, {str(dtype).removeprefix('torch.')}"
            plan.append((name, part(embedding, piece, stride, batch, dtype), 2))
    if HAS_TRITON and not tiny:
        for dtype in TILES:
            name = f"tiles of kernels, {str(dtype).removeprefix('torch.')}"
            plan.append((name, part(tiles, piece, dtype), 8))
    # flex_attention is compiled for each shape, which takes seconds.
    for sized in shapes if tiny else FLEX:
        names = [*candidates, "flex"]
        plan.append((case_name("flex", *sized), part(shape, piece, names, *sized), 8))
    plan.append(("exactness, flex", part(exactness, piece, "flex"), 10))
    with torch.inference_mode():
        for name, measure, needs in plan:
            piece.case(name, measure, needs)
            if piece.device.type == "cuda":
                torch.cuda.empty_cache()
    piece.finish()


if __name__ == "__main__":
    main()
