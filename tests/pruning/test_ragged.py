"""Reductions of clips that hold different numbers of patches, against the slow computation."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from ragged import GRID, Ragged, ragged

from parameters import each_value
from spectrim.pruning.components import declared
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.reductions.adjacent import last_marked, matching, next_marked

COUNTS = (39, 30, 23)
ONE_LEAVES = 0.956  # of 39, 30 and 23 patches all but one stay
each_prefix = pytest.mark.parametrize("prefix", [0, 1, 2])


def left_of(tokens, clip, present=None):
    """The tokens of a clip that are present."""
    if tokens.present is None:
        return list(range(tokens.count))
    places = tokens.present[clip].nonzero()[:, 0].tolist()
    assert places == list(range(len(places)))  # those that are present stand first
    return places


def kept(rate: float, count: int) -> int:
    return max(1, math.ceil(Fraction(str(rate)) * count))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@each_value(
    counts=[COUNTS, (5, 1, 2, 3), (7, 30, 7)], merged=[False, True],
    keep_rate=[0.3, 0.7, ONE_LEAVES],
)  # fmt: skip
def test_a_clip_in_a_batch_is_reduced_as_if_it_were_alone(reduction, counts, merged, keep_rate):
    for prefix in (0, 1, 2):
        batch = ragged(counts, prefix, seed=prefix, merged=merged)
        together = batch.run(batch.stage(reduction, keep_rate))
        for clip, count in enumerate(counts):
            one = batch.alone(clip)
            alone = one.run(one.stage(reduction, keep_rate))
            places = left_of(together, clip)
            assert len(places) == alone.count <= count
            rows = [*range(prefix), *(prefix + place for place in places)]
            torch.testing.assert_close(together.x[clip, rows], alone.x[0], rtol=0, atol=1e-12)
            assert together.origin[clip, places].tolist() == alone.origin[0].tolist()
            if together.sizes is not None:
                expected = torch.ones(1, alone.count) if alone.sizes is None else alone.sizes
                torch.testing.assert_close(
                    together.sizes[clip, places], expected[0].double(), rtol=0, atol=1e-12
                )
            held = together.holders(GRID.count)[clip]
            assert torch.equal(held, alone.holders(GRID.count)[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_absent_tokens_change_nothing(reduction):
    """Other values in them leave the result as it was."""
    one, other = ragged(COUNTS), ragged(COUNTS)
    for clip, count in enumerate(COUNTS):
        other.tokens.x[clip, 1 + count :] *= 1e3
        other.attention.k[clip, :, 1 + count :] *= -1e3
        other.scores[clip, count:] = 2.0
    left, again = (each.run(each.stage(reduction, 0.7)) for each in (one, other))
    for clip in range(len(COUNTS)):
        places = left_of(left, clip)
        assert left_of(again, clip) == places
        assert torch.equal(left.patches[clip, places], again.patches[clip, places])
        assert torch.equal(left.holders(GRID.count)[clip], again.holders(GRID.count)[clip])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@each_prefix
def test_one_patch_leaves(reduction, prefix):
    """K = P - 1: one patch is dropped, or joins one other; EViT fuses it alone."""
    batch = ragged((39, 39), prefix)
    left = batch.run(batch.stage(reduction, ONE_LEAVES))
    if reduction == "ats":  # samples 38 times, so at most 38 patches are left
        assert left.count <= 38
        return
    tokens_after = declared(REDUCTIONS[reduction], "tokens_after")
    assert left.count == (38 if tokens_after is None else tokens_after(39, 38))
    merges = reduction in ("evit", "tome", "pitome", "diffrate", "adjacent")
    held = left.holders(GRID.count) >= 0
    # DiffRate drops half of what leaves, rounded down: none of one.
    assert held.sum(1).tolist() == [39 if merges else left.count] * 2
    if reduction in ("tome", "pitome", "adjacent"):
        assert left.sizes.max(1).values.tolist() == [2.0, 2.0]
    if reduction == "evit":
        lowest = batch.scores.min(1)
        fused = left.patches[:, -1]
        for clip in range(2):
            x = batch.tokens.patches[clip, lowest.indices[clip]]
            torch.testing.assert_close(fused[clip], x * lowest.values[clip], rtol=0, atol=1e-12)


# ATS


@each_prefix
@pytest.mark.parametrize("keep_rate", [0.2, 0.5, 0.9, ONE_LEAVES])
def test_ats_equals_a_slow_loop(prefix, keep_rate):
    for seed in range(4):
        batch = ragged(COUNTS, prefix, seed)
        batch.scores **= 4  # uneven, so that draws repeat
        left = batch.run(batch.stage("ats", keep_rate))
        repeated = 0
        for clip, count in enumerate(COUNTS):
            scores = batch.scores[clip, :count].tolist()
            chosen = slow_ats(scores, kept(keep_rate, count))
            assert left_of(left, clip) == list(range(len(chosen)))
            origin = batch.tokens.origin[clip, chosen]
            assert left.origin[clip, : len(chosen)].tolist() == origin.tolist()
            assert torch.equal(
                left.patches[clip, : len(chosen)], batch.tokens.patches[clip, chosen]
            )
            repeated += kept(keep_rate, count) - len(chosen)
        assert repeated > 0 or keep_rate == 0.2


def slow_ats(scores: list[float], points: int) -> list[int]:
    """Positions of the sampled patches, highest score first; section 3.2, one step at a time."""
    order = sorted(range(len(scores)), key=lambda j: (scores[j], j))
    sums = list(itertools.accumulate(scores[j] for j in order))
    low, high = sums[0], sums[-1]
    normal = [(s - low) / (high - low) if high > low else 0.0 for s in sums]
    begin = min((c for c in normal if c > 0), default=1.0)
    sampled = set()
    for step in range(points):
        y = begin + (step / (points - 1) if points > 1 else 0.0) * (1 - begin)
        distances = [abs(c - y) for c in normal]
        sampled.add(distances.index(min(distances)))
    return [order[i] for i in sorted(sampled, reverse=True)]


# Segments


@pytest.mark.parametrize("segments", [1, 3, 10, 50])
@pytest.mark.parametrize("keep_rate", [0.1, 0.5, ONE_LEAVES])
def test_segments_equals_a_slow_loop(segments, keep_rate):
    batch = ragged(COUNTS, 1, segments)
    left = batch.run(batch.stage("segments", keep_rate, segments=segments))
    for clip, count in enumerate(COUNTS):
        chosen = slow_segments(batch, clip, kept(keep_rate, count), segments)
        assert len(left_of(left, clip)) == len(chosen) == kept(keep_rate, count)
        origin = batch.tokens.origin[clip, chosen]
        assert left.origin[clip, : len(chosen)].tolist() == origin.tolist()


def slow_segments(batch: Ragged, clip: int, count: int, segments: int) -> list[int]:
    """Positions of the kept patches, highest score first."""
    scores = batch.scores[clip, : batch.counts[clip]].tolist()
    by_score = sorted(range(len(scores)), key=lambda j: -scores[j])
    columns = {j: batch.tokens.origin[clip, j].item() for j in by_score}
    columns = {j: GRID.locate(torch.tensor(origin))[0].item() for j, origin in columns.items()}
    chosen = []
    for segment in range(segments):
        # Column c lies in the segment that holds its left edge, c / columns of the clip.
        members = [
            j
            for j in by_score
            if Fraction(segment, segments)
            <= Fraction(columns[j], GRID.columns)
            < Fraction(segment + 1, segments)
        ]
        chosen += members[: count // segments]
    others = [j for j in by_score if j not in chosen]
    chosen += others[: count - len(chosen)]
    return sorted(chosen, key=lambda j: -scores[j])


# Adjacent


@each_prefix
@pytest.mark.parametrize("keep_rate", [0.3, 0.6, 0.8, ONE_LEAVES])
def test_adjacent_equals_a_slow_loop(prefix, keep_rate):
    for seed in range(4):
        batch = ragged(COUNTS, prefix, seed, merged=seed % 2 == 1)
        left = batch.run(batch.stage("adjacent", keep_rate))
        for clip, count in enumerate(COUNTS):
            runs = slow_adjacent(batch, clip, kept(keep_rate, count))
            assert len(left_of(left, clip)) == len(runs)
            holders = batch.tokens.holders(GRID.count)[clip].tolist()
            for place, run in enumerate(runs):
                assert left.origin[clip, place] == batch.tokens.origin[clip, run[0]]
                sizes = [holders.count(j) for j in run]
                assert left.sizes[clip, place] == sum(sizes)
                xs = [batch.tokens.patches[clip, j] for j in run]
                mean = sum(x * s for x, s in zip(xs, sizes, strict=True)) / sum(sizes)
                torch.testing.assert_close(left.patches[clip, place], mean, rtol=0, atol=1e-12)
                held = [p for p, j in enumerate(holders) if j in run]
                now = left.holders(GRID.count)[clip].tolist()
                assert [p for p, at in enumerate(now) if at == place] == held


def slow_adjacent(batch: Ragged, clip: int, count: int) -> list[list[int]]:
    """Runs of positions that merge, by frequency row and time."""
    prefix, arriving = batch.tokens.num_prefix_tokens, batch.counts[clip]
    k = batch.attention.k[clip].mean(0)
    keys = [k[prefix + j] / k[prefix + j].norm() for j in range(arriving)]
    located = [GRID.locate(batch.tokens.origin[clip, j]).tolist() for j in range(arriving)]
    sequence = sorted(range(arriving), key=lambda j: (located[j][1], located[j][0]))
    links = [
        (-float(keys[a] @ keys[b]), i)
        for i, (a, b) in enumerate(itertools.pairwise(sequence))
        if located[a][1] == located[b][1]
    ]
    merges = min(arriving - count, arriving // 2)
    assert len(links) >= merges
    # The most similar pair first; pairs that share a token with an earlier one come last.
    used: set[int] = set()
    first, second = [], []
    for link in sorted(links):
        if {link[1], link[1] + 1} & used:
            second.append(link)
        else:
            first.append(link)
            used |= {link[1], link[1] + 1}
    joins = {i for _, i in (first + second)[:merges]}
    runs = [[sequence[0]]]
    for i, j in enumerate(sequence[1:]):
        if i in joins:
            runs[-1].append(j)
        else:
            runs.append([j])
    return runs


def test_rows_with_too_few_neighbours_join_the_next_row():
    """Eight patches, two in each row: four leave, all within their rows; the count is exact."""
    batch = ragged((8,), 0)
    columns, rows = torch.arange(8) // 4 * 3, torch.arange(8) % 4
    for place in range(8):
        batch.tokens.origin[0, place] = GRID.index(columns[place].item(), rows[place].item())
    left = batch.run(batch.stage("adjacent", 0.5))
    groups = [set(batch.tokens.origin[0, [j, j + 4]].tolist()) for j in range(4)]
    now = left.holders(GRID.count)[0]
    assert left.count == 4
    for group in groups:
        assert len({now[patch].item() for patch in group}) == 1
    batch = ragged((4,), 0)
    for place in range(4):  # one patch in each row: nothing is adjacent
        batch.tokens.origin[0, place] = GRID.index(place, place)
    assert batch.run(batch.stage("adjacent", 0.5)).count == 2


@pytest.mark.parametrize("values", [1000, 3])  # few values: many are equal
def test_a_greedy_matching_in_closed_form_is_that_of_a_loop(values):
    generator = torch.Generator().manual_seed(0)
    for links in (0, 1, 2, 3, 11, 64):
        similarity = torch.randint(values, (20, links), generator=generator).double()
        for row, taken in zip(similarity.tolist(), matching(similarity).tolist(), strict=True):
            used, expected = set(), [False] * links
            for i in sorted(range(links), key=lambda i: (-row[i], i)):
                if not {i, i + 1} & used:
                    expected[i] = True
                    used |= {i, i + 1}
            assert taken == expected


def test_marked_places_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 33):
        is_marked = torch.rand(8, n, generator=generator) < 0.3
        is_marked[:, 0] = True
        for row, marks in zip(last_marked(is_marked).tolist(), is_marked.tolist(), strict=True):
            assert row == [max(j for j in range(i + 1) if marks[j]) for i in range(n)]
        flipped = is_marked.flip(1)
        for row, marks in zip(next_marked(flipped).tolist(), flipped.tolist(), strict=True):
            assert row == [min(j for j in range(i, n) if marks[j]) for i in range(n)]
