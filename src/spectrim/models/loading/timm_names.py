"""The names that timm gives to a vision transformer, which official AST and AudioMAE share."""

from __future__ import annotations

from ...pruning.patches import PatchGrid
from .infer import depth_of
from .state_dict import AUDIOSET_SOUND, State, Weights, assumed_labels

EPS = 1e-6


def blocks(weights: Weights, prefix: str, width: int) -> tuple[int, State]:
    """All "<prefix>blocks.N.*", renamed to ours, and how many blocks there are."""
    depth = max(1, depth_of(weights.names, f"{prefix}blocks."))  # none: the first is missed
    state: State = {}
    for index in range(depth):
        ours, theirs = f"blocks.{index}", f"{prefix}blocks.{index}"
        state |= weights.layer(f"{ours}.norm1", f"{theirs}.norm1", width)
        state |= weights.layer(f"{ours}.qkv", f"{theirs}.attn.qkv", 3 * width, width)
        state |= weights.layer(f"{ours}.proj", f"{theirs}.attn.proj", width, width)
        state |= weights.layer(f"{ours}.norm2", f"{theirs}.norm2", width)
        state |= weights.layer(f"{ours}.fc1", f"{theirs}.mlp.fc1", 4 * width, width)
        state |= weights.layer(f"{ours}.fc2", f"{theirs}.mlp.fc2", width, 4 * width)
    return depth, state


def assumed(grid: PatchGrid, labels: tuple[str, ...], named: bool = False) -> dict[str, str]:
    """What such a file does not say, see `Arrival.assumed`.

    Args:
        grid: as the count of patches means it.
        labels: of the classes; named: whether the file's own config brings their names.
    """
    said = assumed_labels(labels)
    if named:
        del said["labels"]
    return {**AUDIOSET_SOUND, "frames": f"{grid.frames} frames at stride {grid.stride}", **said}
