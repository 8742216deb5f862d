"""Kendall's tau between a patch's cluster and its score: pairs within a clip, over all clips.

Two definitions of the same counts of pairs. The paper's (Figure 4) counts a pair of equal cluster
as concordant and divides by all pairs; it lies above the standard one. tau-b (Kendall 1945,
Biometrika 33, 239) leaves ties out of either side.
"""

from __future__ import annotations

import numpy as np

PAIRS, CONCORDANT, DISCORDANT, SAME_RANK, SAME_SCORE = range(5)  # columns of the counts


def pair_counts(
    ranks: np.ndarray, scores: np.ndarray, present: np.ndarray | None = None
) -> np.ndarray:
    """Count pairs of patches within each clip, in O(n log n).

    The few values of `ranks` let one running count a value stand for a search tree.

    Args:
        ranks: (clips, patches) integers from 0, few different ones: the clusters in order.
        scores: (clips, patches) finite.
        present: (clips, patches) bool, which patches count; None: all of them.

    Returns:
        (clips, 5) int64: all pairs; concordant ones (one patch above the other in both);
        discordant ones; of equal rank (any score); of equal score (any rank).
    """
    clips, patches = ranks.shape
    if present is None:
        present = np.ones(ranks.shape, bool)
    # Absent patches go last, where no counted patch follows them.
    scores = np.where(present, scores, np.inf)
    order = np.argsort(scores, axis=1, kind="stable")
    scores, ranks, is_present = (np.take_along_axis(a, order, 1) for a in (scores, ranks, present))
    levels = np.arange(int(ranks.max(initial=0)) + 1)
    is_level = (ranks[..., None] == levels) & is_present[..., None]
    running = np.zeros((clips, patches + 1, len(levels)), np.int64)
    running[:, 1:] = is_level.cumsum(1)
    # Patches of equal score count only the patches before the first of them.
    places = np.arange(patches)
    opens = np.ones((clips, patches), bool)
    opens[:, 1:] = scores[:, 1:] != scores[:, :-1]
    first = np.maximum.accumulate(np.where(opens, places, 0), axis=1)
    before = np.take_along_axis(running, first[..., None], 1)
    lower = (before * (levels < ranks[..., None])).sum(2)
    higher = (before * (levels > ranks[..., None])).sum(2)
    of_level, count = running[:, -1], is_present.sum(1)
    return np.stack(
        [
            count * (count - 1) // 2,
            (lower * is_present).sum(1),
            (higher * is_present).sum(1),
            (of_level * (of_level - 1) // 2).sum(1),
            ((places - first) * is_present).sum(1),
        ],
        1,
    )


def tau_paper(counts: np.ndarray) -> np.ndarray:
    """(..., 5) counts to (...): (concordant or of equal rank, less discordant) / all pairs.

    A pair of equal score in different clusters counts as neither. NaN without any pair.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        agree = counts[..., CONCORDANT] + counts[..., SAME_RANK]
        return (agree - counts[..., DISCORDANT]) / counts[..., PAIRS]


def tau_b(counts: np.ndarray) -> np.ndarray:
    """(..., 5) counts to (...): Kendall's tau-b; NaN where all ranks or all scores are equal."""
    untied = [counts[..., PAIRS] - counts[..., same] for same in (SAME_RANK, SAME_SCORE)]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(untied[0].astype(float)) * np.sqrt(untied[1].astype(float))
        return (counts[..., CONCORDANT] - counts[..., DISCORDANT]) / scale


DEFINITIONS = {"paper": tau_paper, "tau-b": tau_b}
