"""Planted clusters are recovered; the sample that K-means sees is uniform and repeatable."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spectrim.analysis.clusters import PatchSample, fit_clusters
from spectrim.common.errors import SpectrimNotice
from spectrim.metrics.jackknife import deal, estimate

CENTRES = np.array([-2.0, -1.0, 0.2, 1.5, 4.0])


def test_planted_clusters_are_recovered_in_order():
    rng = np.random.default_rng(0)
    truth = rng.choice(5, 3000, p=[0.1, 0.2, 0.3, 0.3, 0.1])
    values = CENTRES[truth] + rng.normal(0, 0.05, 3000)
    clusters = fit_clusters(values, values.min(), values.max(), "test")
    np.testing.assert_allclose(clusters.centres, CENTRES, atol=0.02)
    assert (clusters.rank(values) == truth).all()
    assert clusters.rank(np.array([-99.0, 99.0])).tolist() == [0, 4]
    ranges = clusters.ranges()
    assert [low for low, _ in ranges[1:]] == [high for _, high in ranges[:-1]]
    assert (ranges[0][0], ranges[-1][1]) == (values.min(), values.max())


@pytest.mark.parametrize("values", [[0.5], [1.0, 2.0, 4.0]])
def test_fewer_values_than_clusters_are_a_cluster_each(values):
    with pytest.warns(SpectrimNotice, match=f"{len(values)} different value"):
        clusters = fit_clusters(np.repeat(values, 50), min(values), max(values), "test")
    assert clusters.centres.tolist() == values and not clusters.is_complete
    assert clusters.rank(np.array(values)).tolist() == list(range(len(values)))


def test_five_values_are_enough():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clusters = fit_clusters(np.repeat(np.arange(5.0), 7), 0, 4, "test")
    assert clusters.is_complete and clusters.centres.tolist() == [0, 1, 2, 3, 4]


def test_the_patch_sample_is_uniform_whatever_the_batch_size():
    rows = np.arange(20_000.0)[:, None]
    samples = []
    for size in (1, 7, 20_000):
        sample = PatchSample(500, 1, seed=3)
        for start in range(0, 2_000 if size == 1 else len(rows), size):
            sample.add(rows[start : start + size])
        samples.append(sample.rows[:, 0])
    assert np.array_equal(samples[1], samples[2])
    assert len(samples[0]) == len(samples[1]) == 500
    assert len(np.unique(samples[1])) == 500
    assert abs(samples[1].mean() - 10_000) < 4 * 20_000 / 12**0.5 / 500**0.5
    assert sample.record() == {"size": 500, "of": 20_000, "limit": 500, "seed": 3}


def test_a_small_stream_is_kept_whole():
    sample = PatchSample(500, 2, seed=0)
    sample.add(np.ones((3, 2)))
    assert sample.rows.shape == (3, 2)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=40)
    sums = np.zeros((50, 2))
    for group, value in zip(deal(40, 0), values, strict=True):
        sums[group] += (value, 1)
    found = estimate(sums, lambda total: total[0] / total[1])
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / 40**0.5)


def test_the_jackknife_of_many_clips_is_near_it_and_one_clip_has_none():
    values = np.random.default_rng(0).normal(size=5000)
    sums = np.zeros((50, 2))
    np.add.at(sums, deal(5000, 1), np.stack([values, np.ones(5000)], 1))
    found = estimate(sums, lambda total: total[0] / total[1])
    assert found.error == pytest.approx(5000**-0.5, rel=0.3)
    alone = np.zeros((50, 2))
    alone[3] = (2.0, 1.0)
    found = estimate(alone, lambda total: total[0] / total[1])
    assert found.plain() == {"value": 2.0, "error": None}
