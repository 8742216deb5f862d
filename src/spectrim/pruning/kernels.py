"""Triton kernels for the attention that patches receive, without storing the attention map.

Column j of the softmaxed map sums to the attention that patch j receives. It needs two passes over
the logits s_ij = scale * q_i k_j + bias_j, both in tiles that never leave the processor:

    l_i = log sum_j exp(s_ij)           the row's log-sum-exp (`row_log_sums`)
    c_j = sum_i exp(s_ij - l_i)         the column's sum (`column_sums`)

Both are in float32 whatever the dtype of q and k, and both add in a fixed order: the same inputs
give the same bits. Importing this module needs triton, which PyTorch's CUDA wheels bring along.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = math.log2(math.e)  # exp(x) = 2 ** (x * LOG2_E); processors compute powers of two
SMALLEST = 16  # rows, columns and inner length of a product on tensor cores


@triton.jit
def _row_log_sums(
    q, k, bias, out, scale,
    q_batch, q_head, q_row, k_batch, k_head, k_row, bias_batch,
    heads, rows, columns,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # One program computes ROWS rows of one head of one clip, COLUMNS columns at a time.
    tiles = tl.cdiv(rows, ROWS)
    batch = (tl.program_id(0) // tiles // heads).to(tl.int64)
    head = tl.program_id(0) // tiles % heads
    row = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    inner = tl.arange(0, PADDED)
    q += batch * q_batch + head * q_head
    k += batch * k_batch + head * k_head
    queries = tl.load(
        q + row[:, None] * q_row + inner[None, :],
        mask=(row[:, None] < rows) & (inner[None, :] < WIDTH),
        other=0.0,
    )
    # Running maximum of each row, and its sum relative to that maximum, in powers of two.
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        keys = tl.load(
            k + column[None, :] * k_row + inner[:, None],
            mask=(column[None, :] < columns) & (inner[:, None] < WIDTH),
            other=0.0,
        )
        logits = tl.dot(queries, keys, input_precision=PRECISION) * scale
        if HAS_BIAS:
            add = tl.load(bias + batch * bias_batch + column, mask=column < columns, other=0.0)
            logits += add.to(tl.float32)[None, :] * 1.4426950408889634
        logits = tl.where(column[None, :] < columns, logits, -float("inf"))
        raised = tl.maximum(highest, tl.max(logits, 1))
        # A row of which only absent keys have been read has no maximum yet: -inf - -inf is NaN.
        base = tl.where(raised == -float("inf"), 0.0, raised)
        total = total * tl.exp2(highest - base) + tl.sum(tl.exp2(logits - base[:, None]), 1)
        highest = raised
    log_sum = (highest + tl.log2(total)) / 1.4426950408889634
    offset = (batch * heads + head) * rows + row
    tl.store(out + offset, log_sum, mask=row < rows)


@triton.jit
def _column_sums(
    q, k, bias, log_sums, out, scale,
    q_batch, q_head, q_row, k_batch, k_head, k_row, bias_batch, sums_batch, sums_head,
    heads, rows, columns,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # One program computes COLUMNS columns of one head of one clip, ROWS rows at a time.
    tiles = tl.cdiv(columns, COLUMNS)
    batch = (tl.program_id(0) // tiles // heads).to(tl.int64)
    head = tl.program_id(0) // tiles % heads
    column = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, PADDED)
    q += batch * q_batch + head * q_head
    k += batch * k_batch + head * k_head
    log_sums += batch * sums_batch + head * sums_head
    keys = tl.load(
        k + column[None, :] * k_row + inner[:, None],
        mask=(column[None, :] < columns) & (inner[:, None] < WIDTH),
        other=0.0,
    )
    add = tl.zeros([COLUMNS], tl.float32)
    if HAS_BIAS:
        add = tl.load(bias + batch * bias_batch + column, mask=column < columns, other=0.0)
        add = add.to(tl.float32) * 1.4426950408889634
    total = tl.zeros([COLUMNS], tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        queries = tl.load(
            q + row[:, None] * q_row + inner[None, :],
            mask=(row[:, None] < rows) & (inner[None, :] < WIDTH),
            other=0.0,
        )
        # Rows past the end have an infinite sum: their weights are 2 ** -inf = 0.
        log_sum = tl.load(log_sums + row, mask=row < rows, other=float("inf"))
        logits = tl.dot(queries, keys, input_precision=PRECISION) * scale + add[None, :]
        total += tl.sum(tl.exp2(logits - log_sum[:, None] * 1.4426950408889634), 0)
    offset = (batch * heads + head) * columns + column
    tl.store(out + offset, total, mask=column < columns)


def row_log_sums(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """(batch, heads, queries) log-sum-exp of the attention logits over the keys, float32.

    Args:
        q: (batch, heads, queries, width); k: (batch, heads, keys, width).
        bias: (batch, keys), added to the logits; None: nothing is added.
    """
    batch, heads, rows, width = q.shape
    out = q.new_empty(batch, heads, rows, dtype=torch.float32)
    q, k = _with_dense_rows(q), _with_dense_rows(k)
    sizes = _tile(q)
    _row_log_sums[(triton.cdiv(rows, sizes["ROWS"]) * heads * batch,)](
        q, k, q if bias is None else bias, out, width**-0.5 * LOG2_E,
        *q.stride()[:3], *k.stride()[:3], 0 if bias is None else bias.stride(0),
        heads, rows, k.shape[2],
        WIDTH=width, HAS_BIAS=bias is not None, **sizes,
    )  # fmt: skip
    return out


def column_sums(q: Tensor, k: Tensor, bias: Tensor | None, log_sums: Tensor) -> Tensor:
    """(batch, heads, keys) sum of the attention weights of each key over the queries, float32.

    Args:
        q, k, bias: as in `row_log_sums`; the keys may be some of its own.
        log_sums: (batch, heads, queries) of `row_log_sums`; infinity leaves a query out.
    """
    batch, heads, rows, width = q.shape
    columns = k.shape[2]
    out = q.new_empty(batch, heads, columns, dtype=torch.float32)
    q, k, log_sums = _with_dense_rows(q), _with_dense_rows(k), _with_dense_rows(log_sums)
    sizes = _tile(q)
    _column_sums[(triton.cdiv(columns, sizes["COLUMNS"]) * heads * batch,)](
        q, k, q if bias is None else bias, log_sums, out, width**-0.5 * LOG2_E,
        *q.stride()[:3], *k.stride()[:3], 0 if bias is None else bias.stride(0),
        *log_sums.stride()[:2], heads, rows, columns,
        WIDTH=width, HAS_BIAS=bias is not None, **sizes,
    )  # fmt: skip
    return out


def _with_dense_rows(tensor: Tensor) -> Tensor:
    """The tensor with neighbouring values along its last dimension, which the kernels assume."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


_HALF: dict[str, int | str] = {
    "ROWS": 128, "COLUMNS": 64, "PRECISION": "ieee", "num_warps": 4, "num_stages": 3,
}  # fmt: skip
TILES: dict[torch.dtype, dict[str, int | str]] = {
    # "tf32x3" is a sum of three TF32 products, as exact as float32: on an H100 the error from
    # float64 is the same, 1.4e-7, and it takes a tenth of the time.
    torch.float32: {
        "ROWS": 64, "COLUMNS": 64, "PRECISION": "tf32x3", "num_warps": 4, "num_stages": 2,
    },
    torch.bfloat16: _HALF,
    torch.float16: _HALF,
}  # fmt: skip
"""Size of a tile and how Triton compiles it, by the dtype of q and k; the fastest of those that
`benchmarks/gpu/kernels.py` times (results/gpu)."""


def _tile(q: Tensor) -> dict[str, Any]:
    """The tile of a dtype, with fewer rows for few queries, such as a class token."""
    tile: dict[str, Any] = TILES[q.dtype] | {
        "PADDED": max(SMALLEST, triton.next_power_of_2(q.shape[3]))
    }
    rows = max(SMALLEST, triton.next_power_of_2(q.shape[2]))
    return tile | {"ROWS": min(tile["ROWS"], rows)}
