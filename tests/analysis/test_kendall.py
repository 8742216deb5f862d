"""Tau against a brute force over all pairs, against scipy, and on planted rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from spectrim.analysis.counts.kendall import pair_counts, tau_b, tau_paper


def slow(ranks, scores):
    """Every pair, one after the other."""
    counts = [0] * 5
    for i in range(len(ranks)):
        for j in range(i):
            product = np.sign(ranks[i] - ranks[j]) * np.sign(scores[i] - scores[j])
            counts[0] += 1
            counts[1] += product > 0
            counts[2] += product < 0
            counts[3] += ranks[i] == ranks[j]
            counts[4] += scores[i] == scores[j]
    return counts


lists = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-3, 3), st.booleans()), min_size=1, max_size=25
)


@given(st.lists(lists, min_size=1, max_size=3))
def test_counts_equal_those_of_every_pair(clips):
    width = max(map(len, clips))
    table = np.zeros((len(clips), width, 3), int)
    for row, clip in zip(table, clips, strict=True):
        row[: len(clip)] = clip
    ranks, scores, present = table[..., 0], table[..., 1].astype(float), table[..., 2] > 0
    found = pair_counts(ranks, scores, present)
    for row in range(len(clips)):
        here = present[row]
        assert found[row].tolist() == slow(ranks[row][here], scores[row][here])


@pytest.mark.parametrize("decimals", [None, 1])
def test_tau_b_is_scipys_also_with_tied_scores(decimals):
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 5, (4, 300))
    scores = ranks * 0.3 + rng.normal(size=(4, 300))
    scores = scores if decimals is None else scores.round(decimals)
    found = tau_b(pair_counts(ranks, scores))
    expected = [kendalltau(r, s).statistic for r, s in zip(ranks, scores, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_planted_rankings_give_the_known_tau():
    ranks = np.repeat(np.arange(5), 20)[None]  # 100 patches, 20 a cluster
    same = 5 * 20 * 19 / 2 / (100 * 99 / 2)  # share of pairs of equal cluster
    rising = np.arange(100.0)[None]
    for scores, paper, b in (
        (rising, 1.0, np.sqrt(1 - same)),  # scores without ties: tau-b stays below 1
        (-rising, same - (1 - same), -np.sqrt(1 - same)),
        (ranks.astype(float), 1.0, 1.0),
        (-ranks.astype(float), same - (1 - same), -1.0),
    ):
        counts = pair_counts(ranks, scores)
        assert tau_paper(counts)[0] == pytest.approx(paper)
        assert tau_b(counts)[0] == pytest.approx(b)


def test_the_papers_tau_lies_above_the_standard_one():
    rng = np.random.default_rng(1)
    counts = pair_counts(rng.integers(0, 5, (9, 80)), rng.normal(size=(9, 80)))
    assert (tau_paper(counts) > tau_b(counts)).all()


def test_equal_patches_have_the_papers_tau_but_no_tau_b():
    counts = pair_counts(np.zeros((1, 9), int), np.arange(9.0)[None])
    assert tau_paper(counts)[0] == 1.0 and np.isnan(tau_b(counts)[0])
    nobody = pair_counts(np.zeros((1, 9), int), np.arange(9.0)[None], np.zeros((1, 9), bool))
    assert nobody.sum() == 0 and np.isnan(tau_paper(nobody)[0])


def test_a_long_clip_takes_no_quadratic_memory():
    rng = np.random.default_rng(0)
    ranks, scores = rng.integers(0, 5, (1, 200_000)), rng.normal(size=(1, 200_000))
    assert abs(tau_b(pair_counts(ranks, scores))[0]) < 0.01
