"""timm's names for a vision transformer, which official AST and AudioMAE share."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ...common.errors import SpectrimError, nearest
from ...pruning.patches import PATCH, PatchGrid
from .checkpoint import Checkpoint, State, Weights
from .infer import ASSUMED_NORMALISATION, assumed_labels

EPS = 1e-6
HEAD_EPS = 1e-5  # PyTorch's default, for the norm of heads that timm does not build
HEAD_WIDTH = 64


def heads_of(width: int, where: str, heads: int | None = None) -> int:
    """Number of attention heads, which the files do not store: as passed, else 64 wide each.

    Raises:
        SpectrimError: the width does not divide into them.
    """
    if heads is None and width % HEAD_WIDTH == 0:
        return width // HEAD_WIDTH
    if heads is None:
        raise SpectrimError(
            f"{where}: width {width} is not divisible by the usual head width of {HEAD_WIDTH}. "
            "Pass heads= (in commands --load heads=)."
        )
    if heads < 1 or width % heads:
        raise SpectrimError(f"{where}: width {width} is not divisible by {heads} heads.")
    return heads


def pool_of(checkpoint: Checkpoint, default: str) -> str:
    """What the head reads, which the files do not store: as passed, else the default.

    Raises:
        SpectrimError: neither "prefix" nor "normalised-patches".
    """
    choices = ("prefix", "normalised-patches")
    pool = checkpoint.pool or default
    if pool not in choices:
        raise SpectrimError(f"{checkpoint.where}: pool is {pool!r}.{nearest(pool, choices)}")
    return pool


def take_blocks(weights: Weights, prefix: str, width: int) -> tuple[int, State]:
    """Take all "<prefix>blocks.N.*", renamed to ours; returns the number of blocks first."""
    pattern = re.compile(re.escape(prefix) + r"blocks\.([0-9]{1,6})\.")
    indices = [int(match[1]) for name in weights.names if (match := pattern.match(name))]
    depth = 1 + max(indices, default=0)  # without any block, the first one is reported missing
    state: State = {}
    _check_mlp(weights, f"{prefix}blocks.0.mlp.fc1.weight", width)
    for index in range(depth):
        ours, theirs = f"blocks.{index}", f"{prefix}blocks.{index}"
        state |= weights.layer(f"{ours}.norm1", f"{theirs}.norm1", width)
        state |= weights.layer(f"{ours}.qkv", f"{theirs}.attn.qkv", 3 * width, width)
        state |= weights.layer(f"{ours}.proj", f"{theirs}.attn.proj", width, width)
        state |= weights.layer(f"{ours}.norm2", f"{theirs}.norm2", width)
        state |= weights.layer(f"{ours}.fc1", f"{theirs}.mlp.fc1", 4 * width, width)
        state |= weights.layer(f"{ours}.fc2", f"{theirs}.mlp.fc2", width, 4 * width)
    return depth, state


def check_depth(checkpoint: Checkpoint, depth: int) -> None:
    """Refuse weights with another number of blocks than config.json states: some were lost.

    Raises:
        SpectrimError: names both numbers.
    """
    stored = (checkpoint.config or {}).get("depth", depth)
    if stored != depth:
        raise SpectrimError(
            f"{checkpoint.where}: depth is {stored} in config.json, but the weights have {depth} "
            "blocks. Download both files again."
        )


def distilled(weights: Weights, prefix: str) -> tuple[State, Tensor, int, int]:
    """Take a distilled DeiT: embedding, blocks and last norm, renamed to ours.

    Returns:
        state: all but the positions.
        positions: (1, 2 + patches, width).
        depth, width: of the transformer.
    """
    kernel = weights.take(f"{prefix}patch_embed.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    tokens = [weights.take(f"{prefix}{name}", 1, 1, width) for name in ("cls_token", "dist_token")]
    positions = weights.take(f"{prefix}pos_embed", 1, None, width)
    depth, state = take_blocks(weights, prefix, width)
    state |= {
        "patch.weight": kernel.transpose(2, 3),  # theirs is (frequency, time)
        "patch.bias": weights.take(f"{prefix}patch_embed.proj.bias", width),
        "prefix_tokens": torch.cat(tokens, 1),
    }
    return state | weights.layer("norm", f"{prefix}norm", width), positions, depth, width


def _check_mlp(weights: Weights, name: str, width: int) -> None:
    ratio, rest = divmod(len(weights.require(name, None, width)), width)
    if ratio not in (0, 4) and not rest:
        raise SpectrimError(
            f"{weights.where}: its MLP is {ratio} times as wide as the model ({name}); Spectrim "
            "supports 4 times only."
        )


def assumed(grid: PatchGrid, labels: tuple[str, ...]) -> dict[str, str]:
    """Settings that such a file does not store, see `Converted.assumed`.

    Args:
        grid: as inferred from the number of patches.
        labels: of the classes.
    """
    return {
        **ASSUMED_NORMALISATION,
        "frames": f"{grid.frames} frames at stride {grid.stride}",
        **assumed_labels(labels),
    }
