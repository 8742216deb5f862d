"""The patches that each clip of a batch keeps, where clips keep different numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from ..pruning.context import Context
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens


class ClipCounts:
    """Patches of each clip at the attention and at the MLP of every block.

    Args:
        patches: number of patches of a clip before any stage.
        depth: number of blocks of the model.
    """

    def __init__(self, patches: int, depth: int) -> None:
        self.patches, self.depth = patches, depth
        self._counts: list[tuple[Tensor, Tensor]] = []

    def watch(self, before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
        """Count in one block; see `SpectrogramTransformer.encode`."""
        if context.block != "input" and context.place == "between":
            self._counts.append((_counts(before), _counts(after)))

    def counts(self) -> Tensor:
        """(depth, 2, batch) int64: patches at the attention and at the MLP."""
        counts = torch.stack([torch.stack(pair) for pair in self._counts])
        # Blocks before the first stage may run once for several plans; they have all patches.
        skipped = self.depth - len(counts)
        return torch.cat([counts.new_full((skipped, *counts.shape[1:]), self.patches), counts])


def _counts(tokens: Tokens) -> Tensor:
    if tokens.present is None:
        return torch.full_like(tokens.origin[:, 0], tokens.count)
    return tokens.present.sum(1)
