"""The analysis of the paper's section 5: two passes over each data set, all models at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..data.batches import batches
from ..data.manifest import Manifest
from ..metrics.jackknife import deal
from ..models.build import prune
from ..models.labels import audioset
from ..models.transformer import SpectrogramTransformer
from ..pruning.defaults import DEFAULT_BLOCKS
from ..pruning.stage import part_name
from .clusters import Clusters
from .counts.batch import Look
from .counts.histograms import Single
from .examples import Example, choose, find, look_at
from .first_pass import SAMPLE, Survey, longest_window, survey
from .patches import FeatureCache, Patches, View, patches_of
from .second_pass import Run, Subject

SCORES = ("attention", "intensity", "variation")
BATCH_SIZE = 16
NAMED = 3  # unknown labels, of those that keep a model from a manifest
Steps = Callable[[str, int], None]
"""Progress: the name of the data set, and how many clips of a pass are done now."""


@dataclass(frozen=True)
class Settings:
    """How an analysis is done.

    Attributes:
        keep_rate: in each of `blocks`; None: each model's own plan, which it must have.
        scores: that rank; None stands for those of the models' own plans.
        blocks: that prune, from 0, or "input".
        batch_size: clips at a time.
        sample: patches in the reservoir that K-means sees.
        seed: of the reservoir, of the groups of the jackknife, of random scores, and of the
            choice of examples.
        examples: clips drawn by lot for Figure 3.
        chosen: clips for Figure 3 by path or file name, instead.
        tau_pruned: whether Figure 4 is counted of the pruned models too.
        checkpoints: where each model came from, by its name; command: what was called. Both are
            for the record.
    """

    keep_rate: float | None = 0.5
    scores: Sequence[str] = SCORES
    blocks: Sequence[int | str] = DEFAULT_BLOCKS
    batch_size: int = BATCH_SIZE
    sample: int = SAMPLE
    seed: int = 0
    examples: int = 3
    chosen: Sequence[str] = ()
    tau_pruned: bool = False
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


@dataclass
class DataSet:
    """What was found on one data set.

    Attributes:
        name, manifest: which.
        survey: what the first pass found; a file that is gone in the second is a failure too.
        subjects: the models that ran on it.
        singles: histograms of the mean and of the std, a view.
        examples: for Figure 3.
    """

    name: str
    manifest: Manifest
    survey: Survey
    subjects: list[Subject]
    singles: dict[View, tuple[Single, ...]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def clips(self) -> int:
        """How many could be read."""
        return len(self.survey.readable)


def analyze(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    settings: Settings,
    steps: Steps = lambda name, clips: None,
) -> list[DataSet]:
    """Analyse models on the manifests whose labels they know; see `pairs`.

    Memory does not grow with the clips, but for the manifests themselves.

    Raises:
        SpectrimError: no model knows the labels of a manifest; no clip of one can be read; a
            clip chosen by name is in none; a plan that is wanted and not there.
    """
    for model in models.values():
        pruned(model, settings)  # what is wrong with a score or a block is said before the work
    work = []
    for name, manifest in data.items():
        able = {key: model for key, model in models.items() if knows(model, manifest)}
        if able:
            work.append((able, name, manifest))
    for name in settings.chosen:
        if work and not any(find(manifest, [name]) for _, _, manifest in work):
            sets = ", ".join(name for _, name, _ in work)
            raise SpectrimError(f"no clip called {name!r} in {sets}.")
    if not work:
        raise SpectrimError(
            f"none of the models ({', '.join(models)}) knows the labels of {', '.join(data)}; a "
            "folder, or a manifest without labels, is analysed by every model."
        )
    return [
        _one(able, name, manifest, settings, partial(steps, name)) for able, name, manifest in work
    ]


def knows(model: SpectrogramTransformer, manifest: Manifest) -> bool:
    """Whether every label of a manifest is a class of the model, or AudioSet's id of one."""
    return not strange(model, manifest)


def strange(model: SpectrogramTransformer, manifest: Manifest) -> list[str]:
    """The labels of a manifest, sorted, that the model does not know, nor as an AudioSet id."""
    aliases, known = dict(audioset()), set(model.labels)
    return [
        label
        for label in sorted(manifest.labels())
        if label not in known and aliases.get(label) not in known
    ]


def skipped(
    models: Mapping[str, SpectrogramTransformer], data: Mapping[str, Manifest]
) -> list[dict[str, Any]]:
    """The pairs of model and data that are not run, with the first labels that are unknown."""
    found = []
    for name, manifest in data.items():
        for key, model in models.items():
            if labels := strange(model, manifest):
                unknown = {"unknown_labels": labels[:NAMED], "unknown": len(labels)}
                found.append({"model": key, "data": name} | unknown)
    return found


def pruned(model: SpectrogramTransformer, settings: Settings) -> dict[str, SpectrogramTransformer]:
    """The model by each score of the settings, or by its own plan.

    Raises:
        SpectrimError: its own plan is wanted, and it has none.
    """
    if settings.keep_rate is not None:
        return {
            score: prune(model, settings.keep_rate, score, settings.blocks, seed=settings.seed)
            for score in dict.fromkeys(settings.scores)
        }
    if not model.plan.stages:
        raise SpectrimError(
            f"{model.config.name} has no plan of its own, so that it never prunes; give a "
            "keep-rate."
        )
    return {part_name(model.plan.stages[0].score): model}


def drops(run: Run) -> bool:
    """Whether a pruned model drops any patch at all."""
    patches = run.view.grid.count
    counts = run.model.plan.counts(patches, run.model.config.depth)
    return counts[-1][1] < patches


@torch.inference_mode()
def _one(
    models: Mapping[str, SpectrogramTransformer],
    name: str,
    manifest: Manifest,
    settings: Settings,
    tick: Callable[[int], None],
) -> DataSet:
    first = survey(
        models,
        name,
        manifest,
        batch_size=settings.batch_size,
        sample=settings.sample,
        seed=settings.seed,
        tick=tick,
    )
    subjects = [_subject(key, model, first, settings) for key, model in models.items()]
    found = DataSet(name, manifest, first, subjects)
    found.singles = {
        view: tuple(Single(clusters) for clusters in both) for view, both in first.clusters.items()
    }
    groups = deal(len(manifest.clips), settings.seed)
    for batch in batches(manifest.clips, settings.batch_size, longest_window(models)):
        if batch.positions:
            _count(found, FeatureCache(batch.waveforms), groups[batch.positions])
        first.lose(batch.failures)
        tick(len(batch.positions) + len(batch.failures))
    positions = find(manifest, settings.chosen)
    if not settings.chosen:
        positions = choose(manifest, first.readable, settings.examples, settings.seed)
    readable = set(first.readable)
    for at in positions:
        if at in readable:
            with contextlib.suppress(SpectrimError):  # gone since it was counted
                found.examples.append(look_at(manifest, at, subjects))
    return found


def _subject(
    name: str, model: SpectrogramTransformer, first: Survey, settings: Settings
) -> Subject:
    clusters = first.clusters[View.of(model.config)]
    runs = [
        Run(score, part.eval(), clusters, settings.tau_pruned)
        for score, part in pruned(model, settings).items()
    ]
    return Subject(name, model, runs)


def _count(found: DataSet, feature_cache: FeatureCache, groups: np.ndarray) -> None:
    looks: dict[View, Look] = {}
    for subject in found.subjects:
        features, valid = feature_cache.features(subject.plain)
        if subject.view not in looks:
            patches = patches_of(subject.view, features, valid)
            looks[subject.view] = _look(found, subject.view, patches, groups)
        subject.add(features, valid, looks[subject.view])


def _look(found: DataSet, view: View, patches: Patches, groups: np.ndarray) -> Look:
    clusters: tuple[Clusters, ...] = found.survey.clusters[view]
    for single, values in zip(found.singles[view], patches.values, strict=True):
        single.add(values, patches.sound)
    return Look.at(patches, clusters, groups)
