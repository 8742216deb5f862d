"""Random tokens of clips that hold different numbers of patches, in a batch and alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.attention import Attention
from spectrim.pruning.context import Clips, Context
from spectrim.pruning.patches import PatchGrid
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

GRID = PatchGrid(160, 64)  # 10 columns, 4 rows
WIDTH, HEADS = 8, 2


@dataclass
class Ragged:
    """Tokens before a stage; the first `counts[i]` of clip i are present.

    Attributes:
        tokens: (clips, longest) patches; absent ones hold random values too.
        attention: random queries, keys and values.
        scores: (clips, longest) from (0, 1).
    """

    counts: tuple[int, ...]
    tokens: Tokens
    attention: Attention
    scores: Tensor

    def run(self, stage: Stage, block: int = 1) -> Tokens:
        """What is left of the batch after a stage; scores are those of the batch."""
        clips = Clips(
            torch.zeros(len(self.counts), 160, 64),
            torch.full((len(self.counts),), 160),
            GRID,
            has_class_token=self.tokens.num_prefix_tokens > 0,
        )
        context = Context(clips, self.tokens, block, self.attention)
        return SpectrogramTransformer._prune(stage, self.tokens, context, None)

    def stage(self, reduction: str, keep_rate: float, **options) -> Stage:
        """A stage that ranks by the scores of the batch."""
        return Stage(
            1,
            keep_rate,
            score=lambda context: self.scores,
            reduction=reduction,
            reduction_options=options,
        )

    def alone(self, clip: int) -> Ragged:
        """One clip without its absent tokens."""
        count, prefix = self.counts[clip], self.tokens.num_prefix_tokens
        one = slice(clip, clip + 1)
        tokens, a = self.tokens, self.attention
        alone = Tokens(
            tokens.x[one, : prefix + count],
            prefix,
            tokens.origin[one, :count],
            None if tokens.sizes is None else tokens.sizes[one, :count],
            members=None if tokens.members is None else tokens.members[one],
        )
        q, k, v = (value[one, :, : prefix + count] for value in (a.q, a.k, a.v))
        return Ragged((count,), alone, Attention(q, k, v, alone.bias()), self.scores[one, :count])


def ragged(
    counts: tuple[int, ...],
    prefix: int = 1,
    seed: int = 0,
    *,
    merged: bool = False,
    keys: Tensor | None = None,
) -> Ragged:
    """Clips of `counts` random patches each, in random order.

    Args:
        merged: some tokens hold several patches already.
        keys: (clips, longest, WIDTH) of the patches, instead of random ones.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, longest = len(counts), max(counts)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shuffled = torch.stack([torch.randperm(GRID.count, generator=generator) for _ in counts])
    origin = shuffled[:, :longest]
    present = torch.arange(longest) < torch.tensor(counts)[:, None]
    sizes = members = None
    if merged:  # the first token of each clip also holds the patch that no token comes from
        assert longest < GRID.count
        sizes = torch.ones(batch, longest, dtype=torch.float64)
        sizes[:, 0] = 2
        members = torch.full((batch, GRID.count), -1)
        for clip, count in enumerate(counts):
            members[clip, origin[clip, :count]] = torch.arange(count)
            members[clip, shuffled[clip, longest]] = 0
    equal = min(counts) == longest
    tokens = Tokens(
        random(batch, prefix + longest, WIDTH),
        prefix,
        origin,
        sizes,
        None if equal else present,
        members,
    )
    shape = (batch, HEADS, prefix + longest, WIDTH // HEADS)
    q, k, v = random(*shape), random(*shape), random(*shape)
    if keys is not None:
        k[:, :, prefix:] = keys.double().unflatten(2, (HEADS, -1)).transpose(1, 2)
    scores = torch.rand(batch, longest, generator=generator, dtype=torch.float64)
    return Ragged(counts, tokens, Attention(q, k, v, tokens.bias()), scores)
