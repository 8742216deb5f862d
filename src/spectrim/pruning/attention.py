"""Attention of a block that ranks patches: its map, and the attention that patches receive."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .tokens import Tokens, at_least_float32

# Number of attention weights computed at a time. 6 MB fit into a CPU's cache. An accelerator needs
# few large launches instead: with pieces of the CPU's size, a batch of 128 clips took 1,841
# launches on an H100 and AudioMAE ran slower pruned than unpruned (results/gpu).
MAP_ELEMENTS = 1_500_000
MAP_ELEMENTS_ACCELERATOR = 2**27  # 256 MB in bfloat16

# Triton compiles the launcher of a kernel with a C compiler.
HAS_TRITON = importlib.util.find_spec("triton") is not None and any(
    shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")
)


@dataclass
class Attention:
    """Queries, keys and values of a block, (batch, heads, tokens, width / heads) each.

    `column_mean`: (batch, patches) if the block computes the softmax explicitly for a ranking;
    None if attention is fused.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None
    column_mean: Tensor | None = None


def class_row(a: Attention, tokens: Tokens) -> Tensor:
    """(batch, patches) attention of the class token, mean over heads (eq. 2b), float32."""
    if _has_kernel(a):
        return received_by_kernel(a.q[:, :, :1], a.k, a.bias, None, tokens.num_prefix_tokens)
    return class_rows(a, tokens).mean(1).float()


def class_rows(a: Attention, tokens: Tokens) -> Tensor:
    """(batch, heads, patches) attention of the class token in each head, at least float32."""
    if not a.q.is_meta and torch.is_autocast_enabled(a.q.device.type):
        with torch.autocast(a.q.device.type, enabled=False):
            return class_rows(a, tokens)
    dtype = at_least_float32(a.q.dtype)
    logits = (a.k.to(dtype) @ a.q[:, :, 0, :, None].to(dtype))[..., 0] * a.q.shape[-1] ** -0.5
    row = (logits if a.bias is None else logits + a.bias[:, :, 0].to(dtype)).softmax(-1)
    return row[:, :, tokens.num_prefix_tokens :]


def attention_map(a: Attention) -> Tensor:
    """(batch, heads, tokens, tokens) softmaxed attention, queries first, at least float32."""
    if not a.q.is_meta and torch.is_autocast_enabled(a.q.device.type):
        with torch.autocast(a.q.device.type, enabled=False):
            return attention_map(a)
    dtype = at_least_float32(a.q.dtype)
    logits = (a.q.to(dtype) * a.q.shape[-1] ** -0.5) @ a.k.to(dtype).transpose(-2, -1)
    return (logits if a.bias is None else logits + a.bias.to(dtype)).softmax(-1)


def explicit_attention(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Attention of a block that ranks by it: its output, and the attention that patches receive.

    On a GPU the output comes from fused attention, and Triton kernels compute what patches
    receive without storing the attention map. Elsewhere both come from the softmaxed map.

    Returns:
        mixed: (batch, heads, tokens, width / heads), the output of attention.
        received: (batch, patches) column mean over heads and patch queries (eq. 2a), float32.
    """
    if _has_kernel(a):
        mixed = functional.scaled_dot_product_attention(a.q, a.k, a.v, attn_mask=a.bias)
        prefix = tokens.num_prefix_tokens
        return mixed, received_by_kernel(a.q[:, :, prefix:], a.k, a.bias, tokens.present, prefix)
    if torch.compiler.is_compiling():
        return _explicit_at_once(a, tokens)
    return _explicit_in_groups(a, tokens)


def _has_kernel(a: Attention) -> bool:
    """Whether the Triton kernels can compute what patches receive."""
    return (
        a.q.is_cuda
        and _runs_kernels(a.q.device.index or 0)
        and a.q.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and (a.bias is None or a.bias.shape[1:3] == (1, 1))
        and not torch.compiler.is_exporting()
    )


def _runs_kernels(index: int) -> bool:
    """Whether a CUDA device runs the kernels: NVIDIA's, with bfloat16 and room for a tile."""
    return (
        HAS_TRITON and not torch.version.hip and torch.cuda.get_device_capability(index) >= (8, 0)
    )


# What torch.compiler.assume_constant_result sets; it would import the compiler for seconds.
_runs_kernels._dynamo_marked_constant = True  # type: ignore[attr-defined]


def received_by_kernel(
    queries: Tensor, keys: Tensor, bias: Tensor | None, present: Tensor | None, prefix: int
) -> Tensor:
    """(batch, patches) mean attention that patches receive from some queries, by Triton kernels.

    The mean over heads and queries, float32. Differentiable.

    Args:
        queries: (batch, heads, any number of queries, width / heads).
        keys: (batch, heads, tokens, width / heads).
        bias: (batch, 1, 1, tokens), added to the logits; None: nothing is added.
        present: (batch, queries) bool, the queries that count; None: all.
        prefix: number of prefix tokens, the first of the keys.
    """
    bias = None if bias is None else bias[:, 0, 0]
    tracked = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad)
    if tracked or torch.compiler.is_compiling():
        received: Tensor = _operator(queries, keys, bias, present, prefix)
        return received
    return _received(queries, keys, bias, present, prefix)  # without the operator's overhead


def _received(
    queries: Tensor, keys: Tensor, bias: Tensor | None, present: Tensor | None, prefix: int
) -> Tensor:
    from .kernels import column_sums, row_log_sums

    log_sums = row_log_sums(queries, keys, bias)
    if present is not None:
        # An infinite sum leaves a query out: absent ones attend too, but stand for no patch.
        log_sums = log_sums.masked_fill(~present[:, None], torch.inf)
    patch_bias = None if bias is None else bias[:, prefix:]
    sums = column_sums(queries, keys[:, :, prefix:], patch_bias, log_sums)
    return sums.mean(1) / _num_queries(queries, present)


def _num_queries(queries: Tensor, present: Tensor | None) -> Tensor | int:
    return queries.shape[2] if present is None else present.sum(1, keepdim=True)


# Compilers take an operator of PyTorch as one step, and autograd takes its backward pass.
@torch.library.custom_op("spectrim::attention_received", mutates_args=())
def _operator(
    queries: Tensor, keys: Tensor, bias: Tensor | None, present: Tensor | None, prefix: int
) -> Tensor:
    return _received(queries, keys, bias, present, prefix)


@_operator.register_fake
def _(
    queries: Tensor, keys: Tensor, bias: Tensor | None, present: Tensor | None, prefix: int
) -> Tensor:
    return keys.new_empty(keys.shape[0], keys.shape[2] - prefix, dtype=torch.float32)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    queries, keys, bias, present, ctx.prefix = inputs
    ctx.save_for_backward(queries, keys, bias, present)


def _received_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of queries and keys, through the whole attention map.

    Keep-top does not pass gradients to its scores, so this runs only for a loss that reads them.
    With weights p_ij and received r_j = sum_ij w_i p_ij, where w_i is 1 / (heads * queries) or 0,
    the gradient of p_ij is g_ij = w_i grad_j for patch keys and 0 for prefix tokens. That of the
    logits is p_ij (g_ij - sum_m p_im g_im), the softmax's own.
    """
    queries, keys, bias, present = ctx.saved_tensors
    scale = queries.shape[-1] ** -0.5
    logits = (queries.float() * scale) @ keys.float().transpose(-2, -1)
    weights = (logits if bias is None else logits + bias[:, None, None].float()).softmax(-1)
    counts = grad.new_ones(len(grad), queries.shape[2]) if present is None else present.float()
    counts = counts / _num_queries(queries, present) / queries.shape[1]
    to_keys = functional.pad(grad, (ctx.prefix, 0))
    to_weights = counts[:, None, :, None] * to_keys[:, None, None]
    to_logits = weights * (to_weights - (weights * to_weights).sum(-1, keepdim=True))
    to_queries = (to_logits @ keys.float() * scale).to(queries.dtype)
    to_k = (to_logits.transpose(-2, -1) @ queries.float() * scale).to(keys.dtype)
    return to_queries, to_k, None, None, None


_operator.register_autograd(_received_backward, setup_context=_keep_for_backward)


def _explicit_in_groups(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Attention through its softmaxed map, a few heads at a time.

    Their maps fit into the processor's cache. At 1212 patches this takes half the time of
    computing all maps at once (`benchmarks/explicit.py`).
    """
    batch, heads, count, _ = a.q.shape
    prefix = tokens.num_prefix_tokens
    # (batch * heads, tokens, ...), in groups of heads whose maps are computed together.
    elements = MAP_ELEMENTS if a.q.device.type == "cpu" else MAP_ELEMENTS_ACCELERATOR
    group = max(1, elements // count**2)
    scaled = a.q * a.q.shape[-1] ** -0.5
    groups = [tensor.flatten(0, 1).split(group) for tensor in (scaled, a.k, a.v)]
    biases: Sequence[Tensor | None] = [None] * len(groups[0])
    if a.bias is not None:
        biases = a.bias.expand(-1, heads, -1, -1).flatten(0, 1).split(group)
    present: Sequence[Tensor | None] = [None] * len(groups[0])
    if tokens.present is not None:
        rows = tokens.present[:, None].expand(-1, heads, -1).flatten(0, 1)
        present = rows[..., None].split(group)
    mixed, received = [], []
    for q, k, v, bias, queries in zip(*groups, biases, present, strict=True):
        logits = q @ k.transpose(1, 2)
        weights = (logits if bias is None else logits + bias).softmax(-1)
        mixed.append(weights @ v)
        # Of the map only patch queries (rows) and patch keys (columns) count, and only queries
        # that are present: absent ones attend too, but stand for no patch.
        patches = weights[:, prefix:, prefix:]
        patches = patches if queries is None else patches * queries
        received.append(patches.sum(1, dtype=torch.float32))
    total = torch.cat(received).unflatten(0, (batch, heads)).mean(1)
    num_queries = tokens.count if tokens.present is None else tokens.present.sum(1, keepdim=True)
    return torch.cat(mixed).unflatten(0, (batch, heads)), total / num_queries


def _explicit_at_once(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The same for any batch size in one piece: compilers and exporters tile by themselves."""
    logits = (a.q * a.q.shape[-1] ** -0.5) @ a.k.transpose(-2, -1)
    weights = (logits if a.bias is None else logits + a.bias).softmax(-1)
    patches = weights[:, :, tokens.num_prefix_tokens :, tokens.num_prefix_tokens :]
    num_queries: Tensor | int = tokens.count
    if tokens.present is not None:
        patches = patches * tokens.present[:, None, :, None]
        num_queries = tokens.present.sum(1, keepdim=True)
    return weights @ a.v, patches.sum(2, dtype=torch.float32).mean(1) / num_queries
