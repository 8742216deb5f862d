"""Attention of a block that ranks patches: its map, and the attention that patches receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .tokens import Tokens

# Number of attention weights computed at a time. 6 MB fit into a CPU's cache. An accelerator needs
# few large launches instead: with pieces of the CPU's size, a batch of 128 clips took 1,841
# launches on an H100 and AudioMAE ran slower pruned than unpruned (results/gpu).
MAP_ELEMENTS = 1_500_000
MAP_ELEMENTS_ACCELERATOR = 2**27  # 256 MB in bfloat16


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
    if not a.q.is_meta and torch.is_autocast_enabled(a.q.device.type):
        with torch.autocast(a.q.device.type, enabled=False):
            return class_row(a, tokens)
    logits = (a.k.float() @ a.q[:, :, 0, :, None].float())[..., 0] * a.q.shape[-1] ** -0.5
    row = (logits if a.bias is None else logits + a.bias[:, :, 0].float()).softmax(-1)
    return row.mean(1)[:, tokens.num_prefix_tokens :]


def explicit_attention(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Attention computed through its softmaxed map, and the attention that patches receive.

    A few heads are computed at a time, and their maps fit into the processor's cache. At 1212
    patches this takes half the time of computing all maps at once (`benchmarks/explicit.py`).

    Returns:
        mixed: (batch, heads, tokens, width / heads), the output of fused attention.
        received: (batch, patches) column mean over heads and patch queries (eq. 2a), float32.
    """
    if torch.compiler.is_compiling():
        return _explicit_at_once(a, tokens)
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
