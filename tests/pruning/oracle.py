"""PAPER.md sections 2 and 3 in the slowest, most obvious way: one clip, lists and loops.

Written from the weights in the state dict; nothing of `spectrim.pruning` nor of its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor


@dataclass
class Piece:
    """One patch token: its values, the input patches that it carries, and which one it is."""

    x: Tensor
    origin: int
    members: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass
class Seen:
    """What happened in a block: softmaxed attention and keys, one matrix a head."""

    maps: list[Tensor]
    keys: list[Tensor]
    num_prefix_tokens: int


Reduce = Callable[[list[Piece], Seen | None], list[Piece]]


def cells(config, features: Tensor) -> list[tuple[int, int, Tensor]]:
    """(column, row, the 16 x 16 values) of every patch, in the model's order."""
    columns = (config.frames - 16) // config.stride[1] + 1
    rows = (config.mels - 16) // config.stride[0] + 1
    if config.num_prefix_tokens == 2:  # AST counts along time first
        places = [(c, r) for r in range(rows) for c in range(columns)]
    else:
        places = [(c, r) for c in range(columns) for r in range(rows)]
    stride_f, stride_t = config.stride
    return [
        (c, r, features[c * stride_t : c * stride_t + 16, r * stride_f : r * stride_f + 16])
        for c, r in places
    ]


def forward(model, features: Tensor, reduce: dict[int | str, Reduce]) -> Tensor:
    """(frames, mels) to (classes,) logits; `reduce[i]` stands between the halves of block i."""
    w, config = model.state_dict(), model.config
    dtype = w["prefix_tokens"].dtype
    table = w["positions"][0]
    num_prefix_tokens = [
        w["prefix_tokens"][0, i] + table[i] for i in range(config.num_prefix_tokens)
    ]
    pieces = []
    for index, (_, _, cell) in enumerate(cells(config, features.to(dtype))):
        x = w["patch.weight"].flatten(1) @ cell.flatten() + w["patch.bias"]
        pieces.append(Piece(x + table[config.num_prefix_tokens + index], index, [index]))
    if "input" in reduce:
        pieces = reduce["input"](pieces, None)
    for index in range(config.depth):
        num_prefix_tokens, pieces, seen = _attend(
            w, f"blocks.{index}.", config, num_prefix_tokens, pieces
        )
        if index in reduce:
            pieces = reduce[index](pieces, seen)
        for piece in pieces:
            piece.x = _mlp(w, f"blocks.{index}.", config, piece.x)
        num_prefix_tokens = [_mlp(w, f"blocks.{index}.", config, x) for x in num_prefix_tokens]
        if ("after", index) in reduce:
            pieces = reduce["after", index](pieces, seen)
    if config.num_prefix_tokens == 2:
        ends = [_norm(w, "norm.", x, config.eps) for x in num_prefix_tokens]
        pooled = (ends[0] + ends[1]) / 2
    else:
        pooled = sum(p.x * p.size for p in pieces) / sum(p.size for p in pieces)
    pooled = _norm(w, "head_norm.", pooled, config.head_eps)
    return w["head.weight"] @ pooled + w["head.bias"]


def _attend(w, at: str, config, num_prefix_tokens: list[Tensor], pieces: list[Piece]):
    x = torch.stack(num_prefix_tokens + [p.x for p in pieces])
    normed = torch.stack([_norm(w, at + "norm1.", row, config.eps) for row in x])
    qkv = normed @ w[at + "qkv.weight"].T + w[at + "qkv.bias"]
    each, width = config.width // config.heads, config.width
    bias = torch.tensor([0.0] * len(num_prefix_tokens) + [math.log(p.size) for p in pieces]).to(x)
    maps, keys, out = [], [], []
    for head in range(config.heads):
        q = qkv[:, head * each : (head + 1) * each]
        k = qkv[:, width + head * each : width + (head + 1) * each]
        v = qkv[:, 2 * width + head * each : 2 * width + (head + 1) * each]
        logits = q @ k.T / math.sqrt(each) + bias
        weights = torch.exp(logits - logits.max(1, keepdim=True).values)
        weights = weights / weights.sum(1, keepdim=True)
        maps.append(weights)
        keys.append(k)
        out.append(weights @ v)
    x = x + torch.cat(out, 1) @ w[at + "proj.weight"].T + w[at + "proj.bias"]
    n = len(num_prefix_tokens)
    pieces = [Piece(row, p.origin, p.members) for row, p in zip(x[n:], pieces, strict=True)]
    return list(x[:n]), pieces, Seen(maps, keys, n)


def _mlp(w, at: str, config, x: Tensor) -> Tensor:
    hidden = w[at + "fc1.weight"] @ _norm(w, at + "norm2.", x, config.eps) + w[at + "fc1.bias"]
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + w[at + "fc2.weight"] @ hidden + w[at + "fc2.bias"]


def _norm(w, at: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.sum() / len(x)
    variance = (centred * centred).sum() / len(x)
    return centred / torch.sqrt(variance + eps) * w[at + "weight"] + w[at + "bias"]


def class_attention(pieces: list[Piece], seen: Seen) -> list[float]:
    """Eq. 2b: what the class token pays to each patch, averaged over heads."""
    heads = len(seen.maps)
    return [
        sum(float(a[0, seen.num_prefix_tokens + j]) for a in seen.maps) / heads
        for j in range(len(pieces))
    ]


def received_attention(pieces: list[Piece], seen: Seen) -> list[float]:
    """Eq. 2a: what the patches pay to each patch, averaged over heads and patch queries."""
    n, start = len(pieces), seen.num_prefix_tokens
    tables = [a.tolist() for a in seen.maps]
    return [
        sum(table[start + i][start + j] for table in tables for i in range(n)) / (n * len(tables))
        for j in range(n)
    ]


def input_scores(config, features: Tensor, valid: int, score: str) -> list[float]:
    """Intensity or variation of every input patch: of its valid frames, or padded; padding last."""
    filled = features.double().clone()
    filled[valid:] = filled[:valid].min()
    values = []
    for column, _, cell in cells(config, filled):
        start = column * config.stride[1]
        if start >= valid:
            values.append(-math.inf)
            continue
        frames = cell if score.endswith("-padded") else cell[: valid - start]
        numbers = frames.flatten().tolist()
        mean = math.fsum(numbers) / len(numbers)
        std = math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1))
        values.append(mean if score.startswith("intensity") else std)
    return values


_MASK = 2**64 - 1


def _mixed(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def random_scores(features: Tensor, block: int, origins: list[int], seed: int = 0) -> list[float]:
    """splitmix64 over seed, clip, block and patch, in Python's own integers."""
    bits = features.float().contiguous().view(torch.int32).flatten().tolist()
    clip = sum(_mixed(b & _MASK) * (2 * i + 1) for i, b in enumerate(bits)) & _MASK
    key = _mixed((clip + seed * 0x10001 + block) & _MASK)
    draws = [_mixed((key + o * 0x9E3779B97F4A7C15) & _MASK) for o in origins]
    return [(draw >> 40) / 2**24 for draw in draws]


@dataclass
class Pruning:
    """The paper's pruning of one clip; remembers scores, picks, and the margin at every cut."""

    config: Any
    features: Tensor
    valid: int
    score: str
    picks: dict[int | str, list[int]] = field(default_factory=dict)
    margins: dict[int | str, float] = field(default_factory=dict)
    scores: dict[int | str, list[float]] = field(default_factory=dict)

    def at(self, block: int | str, rate: float) -> Reduce:
        def reduce(pieces: list[Piece], seen: Seen | None) -> list[Piece]:
            scores = self.scores[block] = self._scores(block, pieces, seen)
            count = math.ceil(Fraction(str(rate)) * len(pieces))
            order = sorted(range(len(pieces)), key=lambda j: (-scores[j], pieces[j].origin))
            ranked = [scores[j] for j in order]
            if count < len(order):  # relative to the score at the cut
                last, first = ranked[count - 1], ranked[count]
                margin = (last - first) / max(abs(last), 1e-9) if first > -math.inf else math.inf
                self.margins[block] = margin
            self.picks[block] = [pieces[j].origin for j in order[:count]]
            return [pieces[j] for j in order[:count]]

        return reduce

    def _scores(self, block, pieces: list[Piece], seen: Seen | None) -> list[float]:
        origins = [p.origin for p in pieces]
        if self.score == "attention":
            ast = self.config.num_prefix_tokens == 2
            return (class_attention if ast else received_attention)(pieces, seen)
        if self.score == "random":
            return random_scores(self.features, -1 if block == "input" else block, origins)
        every = input_scores(self.config, self.features, self.valid, self.score)
        return [every[o] for o in origins]
