"""ToMe: merge the patches whose keys are most similar.

Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..context import Context
from ..merging import half_stays, mean_keys, merged_pairs, num_merged
from ..tokens import Tokens
from .registry import every_block, register


@register(
    "tome",
    blocks=every_block,
    tokens_after=half_stays,
    needs_scores=False,
    needs_block=True,
)
def tome(
    tokens: Tokens,
    scores: Tensor | None,
    count: int,
    context: Context,
    *,
    proportional: bool = True,
) -> Tokens:
    """Merge similar patches until `count` are left; at most half of them merge at once.

    The sequence, prefix tokens included, is dealt alternately into A and B. Each patch of A
    proposes its most similar patch of B, and the best proposals are accepted. Order afterwards:
    the rest of A, then B. Without prefix tokens the rest of A stays sorted by similarity, as in
    the original code; the next block deals by position, so this order matters.

    Args:
        proportional: whether attention weighs merged tokens by their size. ToMe's authors turn it
            off for masked auto-encoders before fine-tuning and in training.
    """
    prefix, arriving = tokens.num_prefix_tokens, tokens.count
    device = tokens.x.device
    # With one prefix token, patch 0 stands at position 1 of the sequence and belongs to B.
    first_of_a, first_of_b = prefix % 2, 1 - prefix % 2
    a = torch.arange(first_of_a, arriving, 2, device=device)
    b = torch.arange(first_of_b, arriving, 2, device=device)
    keys = mean_keys(context.k, prefix)
    similarity = keys[:, a] @ keys[:, b].transpose(1, 2)
    most, numbers = num_merged(tokens, count, context.counts)
    if tokens.present is not None:
        absent = ~tokens.present
        similarity = similarity.masked_fill(absent[:, a, None], -torch.inf)
        similarity = similarity.masked_fill(absent[:, None, b], -torch.inf)
    best, partner = similarity.max(2)
    by_similarity = best.argsort(dim=1, descending=True, stable=True)
    leaving = by_similarity[:, :most]
    into = partner.gather(1, leaving) * 2 + first_of_b
    leaving = leaving * 2 + first_of_a
    # A stands by position, or by similarity where there are no prefix tokens; then B.
    sequence_of_a = a.expand_as(by_similarity) if prefix else by_similarity * 2 + first_of_a
    sequence = torch.cat([sequence_of_a, b.expand(tokens.x.shape[0], -1)], 1)
    return merged_pairs(
        tokens, context, leaving, into, sequence, numbers, proportional=proportional
    )
