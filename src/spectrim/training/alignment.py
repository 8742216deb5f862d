"""Alignment: the attention that ranks patches learns from the attention of all blocks.

A stage uses the attention of its block only, and the first stage stands after a few blocks. The
unpruned pass of a step of elastic training also computes the attention of later blocks. The mean
over all blocks ranks the patches better (results/alignment.md), so the blocks with a stage learn to
predict it, in the unpruned and in the pruned passes.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..pruning.context import Context
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens

SMALLEST = 1e-9  # below any share of attention that matters; keeps the logarithm finite


class Alignment:
    """The divergence of the ranking attention from its goal, in the passes of one step.

    Its two `watch` functions are called by `SpectrogramTransformer.encode`: `watch_unpruned` in
    the unpruned pass, which comes first, and `watch_pruned` in the others.

    Args:
        blocks: indices of the blocks that have a stage.
        patches: number of patches of the input.
    """

    def __init__(self, blocks: Collection[int | str], patches: int) -> None:
        self.blocks = [block for block in blocks if block != "input"]
        self.patches = patches
        self._sum: Tensor | None = None
        self._ranking: list[tuple[Tokens, Tensor]] = []

    def watch_unpruned(
        self, tokens: Tokens, context: Context, stage: Stage | None, remaining: Tokens
    ) -> None:
        """Add a block to the goal, and keep the attention that would rank there."""
        if context.block == "input" or context.place != "between":
            return
        ranks = context.block in self.blocks
        with torch.set_grad_enabled(torch.is_grad_enabled() and ranks):
            received = _shares(context.attention_received())
        if ranks:
            self._ranking.append((tokens, received))
        self._sum = received.detach() if self._sum is None else self._sum + received.detach()
        self._origin = tokens.origin

    def watch_pruned(
        self, tokens: Tokens, context: Context, stage: Stage | None, remaining: Tokens
    ) -> None:
        """Keep the scores of a stage that ranked by attention."""
        if stage is not None and stage.score == "attention" and context.scores is not None:
            self._ranking.append((tokens, _shares(context.scores)))

    def goal(self) -> Tensor:
        """(batch, patches of the input) mean share of attention over all blocks, no gradient.

        Patches that the unpruned pass leaves out (token masking) have 0.
        """
        assert self._sum is not None, "the unpruned pass was not watched"
        goal = self._sum.new_zeros(len(self._sum), self.patches)
        return _shares(goal.scatter(1, self._origin, self._sum))

    def losses(self) -> Tensor:
        """(batch,) Kullback-Leibler divergences from the goal: sum over passes, mean over blocks.

        In a pruned pass, the shares of the goal are those among the patches that arrive.
        """
        goal, total = self.goal(), torch.zeros((), device=self._origin.device)
        for tokens, received in self._ranking:
            expected = _shares(goal.gather(1, tokens.origin)).clamp(min=SMALLEST)
            difference = expected.log() - received.clamp(min=SMALLEST).log()
            total = total + (expected * difference).sum(1)
        return total / max(1, len(self.blocks))


def _shares(values: Tensor) -> Tensor:
    """(batch, patches) values divided by their sum, float32."""
    values = values.float()
    return values / values.sum(1, keepdim=True).clamp(min=SMALLEST)
