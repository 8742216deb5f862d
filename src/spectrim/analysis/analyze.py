"""The analysis of the paper's section 5: two passes over each data set, all models at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..common.hooks import pass_point
from ..common.interruption import InterruptedStep, Stopped, interrupts_between_steps
from ..data.manifest import Manifest
from ..metrics.jackknife import deal
from ..models.build import prune
from ..models.transformer import SpectrogramTransformer
from ..pruning.components import declared, part_name, resolve
from ..pruning.defaults import DEFAULT_REDUCTION, RECOMMENDED
from ..pruning.reductions import REDUCTIONS
from .counts.base import BatchStats
from .counts.histograms import Histogram
from .examples import Example, choose_clips, find_clips, make_example
from .first_pass import SAMPLE, FirstPass, clip_batches, first_pass
from .inputs import fitting_models
from .pass_duration import estimated_seconds
from .patch_statistics import FeatureCache, View, patches_of
from .second_pass import AnalyzedModel, PrunedModel

SCORES = ("attention", "intensity", "variation")
BATCH_SIZE = 16
ProgressCallback = Callable[[str, int], None]
"""Called with the name of the data set, and how many more clips of a pass are done."""


@dataclass(frozen=True)
class AnalysisSettings:
    """How an analysis is done.

    Attributes:
        keep_rate: in each of `blocks`; None: each model's own plan, which it must have.
        scores: the scores that rank; ignored if `keep_rate` is None, or if the reduction ranks by
            itself.
        blocks: the blocks that prune, counted from 0, or "input"; None: the reduction's own.
        reduction: how patches are reduced; ignored if `keep_rate` is None.
        with_recommended: whether each model's recommended plan is analysed as well; ignored if
            `keep_rate` is None.
        batch_size: clips at a time.
        sample: patches that K-means clusters.
        seed: of that sample, of the jackknife groups, of random scores, and of the choice of
            examples.
        examples: number of random clips for Figure 3.
        chosen: clips for Figure 3 by path or file name, instead.
        tau_pruned: whether Figure 4 is counted for the pruned models too.
        excluded: names of models and data sets that are not run together.
        checkpoints: where each model came from, by its name; command: the command line. Both are
            stored with the results.
    """

    keep_rate: float | None = 0.5
    scores: Sequence[str] = SCORES
    blocks: Sequence[int | str] | str | None = None
    reduction: str = DEFAULT_REDUCTION
    with_recommended: bool = False
    batch_size: int = BATCH_SIZE
    sample: int = SAMPLE
    seed: int = 0
    examples: int = 3
    chosen: Sequence[str] = ()
    tau_pruned: bool = False
    excluded: frozenset[tuple[str, str]] = frozenset()
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


@dataclass
class DataSet:
    """The analysis of one data set.

    Attributes:
        name, manifest: of the data.
        first: results of the first pass; files lost before the second are added to its failures.
        models: that ran on it, with their counts.
        histograms: of the mean and of the std, by view.
        examples: for Figure 3.
        is_complete: whether every clip was counted; False after Ctrl-C.
    """

    name: str
    manifest: Manifest
    first: FirstPass
    models: list[AnalyzedModel]
    histograms: dict[View, tuple[Histogram, ...]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    is_complete: bool = True

    @property
    def clips(self) -> int:
        """Number of clips that were counted."""
        return len(self.first.readable)

    @property
    def pruned(self) -> list[tuple[AnalyzedModel, PrunedModel]]:
        """Every pruned model, with the model that it belongs to."""
        return [(model, pruned) for model in self.models for pruned in model.pruned]


def analyze(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    settings: AnalysisSettings,
    progress: ProgressCallback = lambda name, clips: None,
) -> list[DataSet]:
    """Analyse models on the manifests whose labels they know; see `inputs.skipped`.

    Memory grows with the manifests only, not with the number of clips read.

    Raises:
        SpectrimError: no model knows the labels of a manifest; no clip of a manifest can be read;
            no manifest has a clip chosen by name; a model without a plan where `keep_rate` is
            None.
        Stopped: Ctrl-C; its result is the data sets so far. The last one holds the clips that the
            second pass has counted. A second Ctrl-C does not wait for the end of a batch, and
            loses the data set that it stops.
    """
    for model in models.values():
        pruned_by_score(model, settings)  # report a wrong score or block before the long work
    work = _work(models, data, settings.excluded)
    for clip in settings.chosen:
        if work and not any(find_clips(manifest, [clip]) for _, _, manifest in work):
            sets = ", ".join(name for _, name, _ in work)
            raise SpectrimError(f"no clip called {clip!r} in {sets}.")
    if not work:
        raise SpectrimError(
            f"none of the models ({', '.join(models)}) knows the labels of {', '.join(data)}, or "
            "all pairs are excluded. A folder or a manifest without labels is analysed with every "
            "model."
        )
    done: list[DataSet] = []
    try:
        for fitting, name, manifest in work:
            done.append(
                _analyze_one(
                    fitting, name, manifest, settings, partial(progress, name),
                    partial(pass_point, "analyze:clips"),
                )
            )  # fmt: skip
    except KeyboardInterrupt as interrupt:
        done += interrupt.result if isinstance(interrupt, Stopped) else []
        if not done:
            raise
        raise Stopped(done) from None
    return done


def estimate_analysis(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    settings: AnalysisSettings,
) -> float:
    """Seconds that the passes of `analyze` will take, from the first clips of each data set."""
    settings = replace(settings, examples=0, chosen=())
    seconds = 0.0
    for fitting, name, manifest in _work(models, data, settings.excluded):

        def run(part: Manifest, fitting: _Models = fitting, name: str = name) -> object:
            return _analyze_one(fitting, name, part, settings, lambda clips: None)

        seconds += estimated_seconds(run, manifest, settings.batch_size) or 0.0
    return seconds


_Models = Mapping[str, SpectrogramTransformer]


def _work(
    models: _Models, data: Mapping[str, Manifest], excluded: Collection[tuple[str, str]]
) -> list[tuple[_Models, str, Manifest]]:
    """The models that run on a data set, with its name and manifest; see `fitting_models`."""
    return [
        ({key: models[key] for key in keys}, name, data[name])
        for name, keys in fitting_models(models, data, excluded).items()
        if keys
    ]


def pruned_by_score(
    model: SpectrogramTransformer, settings: AnalysisSettings
) -> dict[str, SpectrogramTransformer]:
    """The model pruned by its recommended plan and by each score, or by its own plan.

    Raises:
        SpectrimError: its own plan is asked for, and it has none.
    """
    if settings.keep_rate is not None:
        reduce = resolve("reduction", settings.reduction, REDUCTIONS, {})
        ranks = declared(reduce, "needs_scores", True)
        scores = list(dict.fromkeys(settings.scores)) if ranks else [None]
        recommended = {}
        if settings.with_recommended:
            recommended[RECOMMENDED] = prune(model, plan=model.recommended_plan)
        return recommended | {
            part_name(score): prune(
                model,
                settings.keep_rate,
                score,
                settings.blocks,
                reduction=settings.reduction,
                seed=settings.seed,
            )
            for score in scores
        }
    if not model.plan.stages:
        raise SpectrimError(
            f"{model.config.name} has no saved plan, so it does not prune. Give a keep rate."
        )
    return {part_name(model.plan.stages[0].score): model}


@torch.inference_mode()
def _analyze_one(
    models: Mapping[str, SpectrogramTransformer],
    name: str,
    manifest: Manifest,
    settings: AnalysisSettings,
    tick: Callable[[int], None],
    passed: Callable[[int], None] = lambda clips: None,
) -> DataSet:
    """Analyse one data set; `passed` is called with the clips of each batch of the second pass."""
    first = first_pass(
        models,
        name,
        manifest,
        batch_size=settings.batch_size,
        sample=settings.sample,
        seed=settings.seed,
        tick=tick,
    )
    analyzed = [_analyzed(key, model, first, settings) for key, model in models.items()]
    data = DataSet(name, manifest, first, analyzed)
    data.histograms = {
        view: tuple(Histogram(clusters) for clusters in of_statistics)
        for view, of_statistics in first.clusters.items()
    }
    groups = deal(len(manifest.clips), settings.seed)
    counted: list[int] = []
    is_stopped = False
    try:
        with interrupts_between_steps() as checkpoint:
            for batch in clip_batches(manifest, settings.batch_size, models.values()):
                if batch.positions:
                    _count(data, FeatureCache(batch.waveforms), groups[batch.positions])
                first.lose(batch.failures)
                counted += batch.positions
                tick(len(batch.positions) + len(batch.failures))
                passed(len(batch.positions) + len(batch.failures))
                checkpoint()
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, InterruptedStep) or not counted:
            raise
        is_stopped = True
        first.readable, data.is_complete = counted, False
    positions = find_clips(manifest, settings.chosen)
    if not settings.chosen:
        positions = choose_clips(manifest, first.readable, settings.examples, settings.seed)
    readable = set(first.readable)
    for position in positions:
        if position in readable:
            with contextlib.suppress(SpectrimError):  # the file was removed after it was counted
                data.examples.append(make_example(manifest, position, analyzed))
    if is_stopped:
        raise Stopped([data])
    return data


def _analyzed(
    name: str, model: SpectrogramTransformer, first: FirstPass, settings: AnalysisSettings
) -> AnalyzedModel:
    clusters = first.clusters[View.of(model.config)]
    pruned = [
        PrunedModel(score, variant.eval(), clusters, settings.tau_pruned)
        for score, variant in pruned_by_score(model, settings).items()
    ]
    return AnalyzedModel(name, model, pruned)


def _count(data: DataSet, feature_cache: FeatureCache, groups: np.ndarray) -> None:
    stats: dict[View, BatchStats] = {}
    for model in data.models:
        features, valid = feature_cache.features(model.unpruned)
        view = model.view
        if view not in stats:  # models that share a view share its statistics
            patches = patches_of(view, features, valid)
            for histogram, values in zip(data.histograms[view], patches.values, strict=True):
                histogram.add(values, patches.sound)
            stats[view] = BatchStats.ranked(patches, data.first.clusters[view], groups)
        model.add(features, valid, stats[view])
