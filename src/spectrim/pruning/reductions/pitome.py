"""PiToMe: merge the patches that resemble many others, and protect the unusual ones.

Tran et al., "Accelerating Transformers with Spectrum-Preserving Token Merging" (NeurIPS 2024,
arXiv 2405.16148), section 3, with the energy of the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...common.errors import SpectrimError
from ..context import Context
from ..merging import half_stays, mean_keys, merged_pairs, num_merged
from ..tokens import Tokens
from .registry import every_block, register

VARIANTS = ("plain", "bsm")
FIRST_MARGIN = 0.75  # of block 0; it falls linearly to 0 after the last block


@register(
    "pitome",
    blocks=every_block,
    tokens_after=half_stays,
    needs_scores=False,
    needs_block=True,
)
def pitome(
    tokens: Tokens,
    scores: Tensor | None,
    count: int,
    context: Context,
    *,
    margin: float | None = None,
    variant: str | None = None,
) -> Tokens:
    """Merge patches of high energy until `count` are left; at most half of them merge at once.

    The energy of a patch is the mean over patches of ELU(cosine of their keys - margin): high for
    a patch with many similar ones. Attention is not weighted by size.

    Args:
        margin: of the energy; None: 0.75 * (1 - block / depth).
        variant: "plain": the 2r patches of highest energy are dealt alternately into A and B, and
            all of A merge; "bsm": all patches are dealt in the order of energy, and the r best
            pairs merge, as in ToMe. None: as in the authors' models: with a class token "bsm" in
            the first half of the blocks and "plain" in the rest; without one the reverse.

    Raises:
        SpectrimError: an unknown variant.
    """
    block, depth = int(context.block), context.clips.depth
    if margin is None:
        margin = FIRST_MARGIN * (1 - block / depth)
    if variant is None:
        is_early = block < (depth + 1) // 2
        variant = "bsm" if is_early == context.clips.has_class_token else "plain"
    if variant not in VARIANTS:
        raise SpectrimError(f"a PiToMe variant of {variant!r}; expected one of {VARIANTS}.")

    keys = mean_keys(context.k, tokens.num_prefix_tokens)
    cosines = keys @ keys.transpose(1, 2)
    terms = functional.elu(cosines - margin)
    present = tokens.present
    if present is None:
        energy = terms.mean(2)
    else:
        terms = terms * present[:, None]
        energy = terms.sum(2) / present.sum(1, keepdim=True)
        energy = energy.masked_fill(~present, -torch.inf)
    by_energy = energy.argsort(dim=1, descending=True, stable=True)

    most, numbers = num_merged(tokens, count, context.counts)
    dealt = by_energy if variant == "bsm" else by_energy[:, : 2 * most]
    a, b = dealt[:, ::2], dealt[:, 1::2]  # positions of the two sets
    rows = cosines.gather(1, a[..., None].expand(-1, -1, tokens.count))
    between = rows.gather(2, b[:, None].expand(-1, a.shape[1], -1))
    if numbers is not None and present is not None:
        valid_a, valid_b = present.gather(1, a), present.gather(1, b)
        if variant == "plain":  # this clip deals only 2 * numbers patches
            ranks = torch.arange(most, device=a.device) < numbers[:, None]
            valid_a, valid_b = ranks, ranks
        between = between.masked_fill(~(valid_a[:, :, None] & valid_b[:, None]), -torch.inf)
    best, partner = between.max(2)
    if variant == "bsm":
        by_similarity = best.argsort(dim=1, descending=True, stable=True)
        pairs = by_similarity[:, :most]
        leaving, into = a.gather(1, pairs), b.gather(1, partner.gather(1, pairs))
        sequence = torch.cat([a.gather(1, by_similarity), b], 1)
    else:
        leaving, into = a, b.gather(1, partner)
        # The protected patches, then those that were dealt: a clip deals its first 2 * number.
        dealt_count = 2 * most if numbers is None else 2 * numbers[:, None]
        is_dealt = torch.arange(tokens.count, device=a.device).expand_as(by_energy) < dealt_count
        sequence = by_energy.gather(1, is_dealt.int().argsort(dim=1, stable=True))
    return merged_pairs(tokens, context, leaving, into, sequence, numbers, proportional=False)
