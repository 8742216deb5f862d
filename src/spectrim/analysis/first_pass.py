"""The first pass over the clips: which can be read, ranges of the statistics, and the clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..data.batches import Batch, batches
from ..data.manifest import Manifest
from ..evaluation.predict import seconds_and_rate
from ..models.transformer import SpectrogramTransformer
from .clusters import Clusters, PatchSample, fit_clusters
from .patch_statistics import STATISTICS, FeatureCache, View, patches_of

SAMPLE = 100_000  # patches that K-means clusters


@dataclass
class FirstPass:
    """Results of the first pass.

    Attributes:
        clusters: of each view, one a statistic: of the mean, of the standard deviation.
        samples: how the patches for K-means were sampled.
        readable: positions in the manifest of clips that could be read.
        failures: (position, message) of the others.
    """

    clusters: dict[View, tuple[Clusters, ...]] = field(default_factory=dict)
    samples: dict[View, dict[str, int]] = field(default_factory=dict)
    readable: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def lose(self, failures: list[tuple[int, str]]) -> None:
        """Record clips that can no longer be read in a later pass."""
        known = {position for position, _ in self.failures}
        new = [failure for failure in failures if failure[0] not in known]
        self.failures.extend(new)
        lost = {position for position, _ in new}
        self.readable = [position for position in self.readable if position not in lost]


@torch.inference_mode()
def first_pass(
    models: Mapping[str, SpectrogramTransformer],
    name: str,
    manifest: Manifest,
    *,
    batch_size: int = 16,
    sample: int = SAMPLE,
    seed: int = 0,
    tick: Callable[[int], None] = lambda clips: None,
) -> FirstPass:
    """Read the clips once, in memory that does not grow with their number.

    Args:
        models: whose views are clustered; none of them is run.
        name: of the data, in notes.
        sample: patches that K-means clusters; seed: of their random choice.
        tick: called with the number of clips done, after each batch.

    Raises:
        SpectrimError: no clip can be read.
    """
    result = FirstPass()
    views = {View.of(model.config): model for model in models.values()}
    samples = {view: PatchSample(sample, len(STATISTICS), seed) for view in views}
    lows = {view: np.full(len(STATISTICS), np.inf) for view in views}
    highs = {view: np.full(len(STATISTICS), -np.inf) for view in views}
    for batch in clip_batches(manifest, batch_size, models.values()):
        result.failures.extend(batch.failures)
        result.readable.extend(batch.positions)
        feature_cache = FeatureCache(batch.waveforms)
        for view, model in views.items() if batch.positions else ():
            values = patches_of(view, *feature_cache.features(model)).values
            values = values.reshape(len(STATISTICS), -1)
            samples[view].add(values.T)
            lows[view] = np.minimum(lows[view], values.min(1))
            highs[view] = np.maximum(highs[view], values.max(1))
        tick(len(batch.positions) + len(batch.failures))
    if not result.readable:
        raise SpectrimError(
            f"{manifest.source}: none of its {len(manifest.clips)} clips could be read; the "
            f"first: {result.failures[0][1]}"
        )
    for view in views:
        result.samples[view] = samples[view].record()
        result.clusters[view] = tuple(
            fit_clusters(column, low, high, f"{name}, patch {statistic}")
            for statistic, column, low, high in zip(
                STATISTICS, samples[view].rows.T, lows[view], highs[view], strict=True
            )
        )
    return result


def clip_batches(
    manifest: Manifest, batch_size: int, models: Iterable[SpectrogramTransformer]
) -> Iterator[Batch]:
    """The clips of a manifest, as long as the longest window of the models.

    Raises:
        SpectrimError: the models take different sample rates.
    """
    seconds, rate = seconds_and_rate(model.config for model in models)
    return batches(manifest.clips, batch_size, seconds, rate=rate)
