"""The first pass over the sound: which clips can be read, ranges, and the clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..data.batches import batches
from ..data.manifest import Manifest
from ..evaluation.predict import window_seconds
from ..models.transformer import SpectrogramTransformer
from .clusters import Clusters, fit_clusters
from .patches import STATISTICS, FeatureCache, View, patches_of
from .reservoir import Reservoir

SAMPLE = 100_000  # patches that K-means sees


@dataclass
class Survey:
    """What the first pass found.

    Attributes:
        clusters: of each view, one a statistic: of the mean, of the standard deviation.
        samples: how the patches that K-means saw were drawn.
        readable: positions in the manifest of clips that could be read.
        failures: (position, message) of the others.
    """

    clusters: dict[View, tuple[Clusters, ...]] = field(default_factory=dict)
    samples: dict[View, dict[str, int]] = field(default_factory=dict)
    readable: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def lose(self, failures: list[tuple[int, str]]) -> None:
        """Note clips that can no longer be read in a later pass."""
        known = {position for position, _ in self.failures}
        new = [failure for failure in failures if failure[0] not in known]
        self.failures.extend(new)
        lost = {position for position, _ in new}
        self.readable = [position for position in self.readable if position not in lost]


@torch.inference_mode()
def survey(
    models: Mapping[str, SpectrogramTransformer],
    name: str,
    manifest: Manifest,
    *,
    batch_size: int = 16,
    sample: int = SAMPLE,
    seed: int = 0,
    tick: Callable[[int], None] = lambda clips: None,
) -> Survey:
    """Go through the clips once, in memory that does not grow with them.

    Args:
        models: whose views are wanted; none of them is run.
        name: of the data, in notices.
        sample: patches in the reservoir that K-means sees; seed: of its draw.
        tick: called with the number of clips done, after each batch.

    Raises:
        SpectrimError: no clip can be read.
    """
    found = Survey()
    views = {View.of(model.config): model for model in models.values()}
    reservoirs = {view: Reservoir(sample, len(STATISTICS), seed) for view in views}
    lows = {view: np.full(len(STATISTICS), np.inf) for view in views}
    highs = {view: np.full(len(STATISTICS), -np.inf) for view in views}
    for batch in batches(manifest.clips, batch_size, longest_window(models)):
        found.failures.extend(batch.failures)
        found.readable.extend(batch.positions)
        feature_cache = FeatureCache(batch.waveforms)
        for view, model in views.items() if batch.positions else ():
            values = patches_of(view, *feature_cache.features(model)).values
            values = values.reshape(len(STATISTICS), -1)
            reservoirs[view].add(values.T)
            lows[view] = np.minimum(lows[view], values.min(1))
            highs[view] = np.maximum(highs[view], values.max(1))
        tick(len(batch.positions) + len(batch.failures))
    if not found.readable:
        raise SpectrimError(
            f"{manifest.source}: none of its {len(manifest.clips)} clips could be read; the "
            f"first: {found.failures[0][1]}"
        )
    for view in views:
        rows = reservoirs[view].rows
        found.samples[view] = reservoirs[view].record()
        found.clusters[view] = tuple(
            fit_clusters(rows[:, at], lows[view][at], highs[view][at], f"{name}, patch {what}")
            for at, what in enumerate(STATISTICS)
        )
    return found


def longest_window(models: Mapping[str, SpectrogramTransformer]) -> float:
    """Seconds of a clip that the model of the longest window sees."""
    return max(window_seconds(model) for model in models.values())
