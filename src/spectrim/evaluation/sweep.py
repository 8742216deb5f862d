"""The main job: metric or agreement, MACs and measured speed for keep-rates and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common.errors import SpectrimError
from ..common.hooks import pass_point
from ..data.batches import batches
from ..data.clip import Clip, clip_names
from ..data.manifest import Manifest, targets_of
from ..metrics.classification import indicator, metric, paired_difference
from ..models.build import macs, prune
from ..models.labels import audioset
from ..models.provenance import context_of
from ..models.transformer import SpectrogramTransformer
from ..pruning.defaults import DEFAULT_BLOCKS, SWEEP_KEEP_RATES, SWEEP_SCORES
from ..pruning.plan import Plan
from .agreement import agreement
from .predict import Predictions, predict, window_seconds
from .resume import Partial
from .timing import Timing, interleaved

BATCH_SIZE = 16
UNLABELLED = (
    "Name the model's classes with --load labels=, or give a folder, or a manifest without labels: "
    "it is compared with the unpruned model."
)


@dataclass(frozen=True)
class Variant:
    """One row of a sweep: the model under one plan; score None for the unpruned one."""

    score: str | None
    keep_rate: float
    model: SpectrogramTransformer


@dataclass(frozen=True)
class Sweep:
    """Rows for people and programs, and what they were made from.

    Attributes:
        rows: one a variant, plain data, the unpruned model first.
        probabilities: one (clips, classes) float32 array a row.
        paths, names: of the clips, in the order of the arrays; names as `clip_names` gives them, so
            that parts of one file are told apart.
        positions: their places in the manifest.
        failures: (path, message) of clips that could not be read.
    """

    rows: list[dict[str, Any]]
    probabilities: list[np.ndarray]
    paths: list[str]
    names: list[str]
    positions: list[int]
    failures: list[tuple[str, str]]


Steps = Callable[[str, int], None]
"""Progress: what is being done, and how many steps of it are done now."""


def variants_of(
    model: SpectrogramTransformer,
    keep_rates: Sequence[float] = SWEEP_KEEP_RATES,
    scores: Sequence[str] = SWEEP_SCORES,
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    seed: int = 0,
    reduction: str = "keep-top",
) -> list[Variant]:
    """The unpruned model, then every score at every keep-rate below 1.0."""
    plain = Variant(None, 1.0, model.with_plan(Plan()))
    pruned = [
        Variant(score, rate, prune(model, rate, score, blocks, reduction=reduction, seed=seed))
        for score in dict.fromkeys(scores)
        for rate in dict.fromkeys(keep_rates)
        if rate != 1.0
    ]
    return [plain, *pruned]


def sweep(
    model: SpectrogramTransformer,
    name: str,
    manifest: Manifest,
    variants: Sequence[Variant],
    *,
    batch_size: int = BATCH_SIZE,
    rounds: int = 20,
    budget: float = 60.0,
    partial: Path | None = None,
    steps: Steps = lambda what, done: None,
) -> Sweep:
    """Evaluate and time variants of a model; the first one is what the others are held against.

    Args:
        name: how rows call the model.
        rounds, budget: of timing, see `timing.interleaved`.
        partial: file that keeps the predictions as they come; a call that was interrupted
            goes on from it. It stays: remove it when the result is saved.
        steps: progress.

    Raises:
        SpectrimError: labels that the model does not know; no clip that can be read; an answer
            that is not finite.
    """
    truth = truth_of(manifest, model.labels, model.config.metric)
    parts = [variant.model.eval() for variant in variants]
    keeper = Partial(partial, parts, manifest.clips) if partial else None
    found = predict(parts, manifest.clips, batch_size, keeper, lambda n: steps("clips", n))
    if not found.positions:
        raise SpectrimError(
            f"{manifest.source}: none of its {len(manifest.clips)} clips could be read; the "
            f"first: {found.failures[0][1]}"
        )
    clips = manifest.clips
    readable = [clips[at] for at in found.positions[:batch_size]]

    def tick() -> None:
        steps("rounds", 1)
        pass_point("sweep:rounds")

    timings = _time(parts, readable, batch_size, rounds, budget, tick)
    logits = [torch.from_numpy(np.concatenate(parts)) for parts in found.logits]
    outputs = [model.probabilities(values).numpy() for values in logits]
    if truth is not None:
        truth = truth[found.positions]
    rows = [
        _row(name, variant, at, found, outputs, truth, timings[at], batch_size)
        for at, variant in enumerate(variants)
    ]
    names = clip_names(clips)
    return Sweep(
        rows,
        outputs,
        [str(clips[at].path) for at in found.positions],
        [names[at] for at in found.positions],
        list(found.positions),
        [(str(clips[at].path), message) for at, message in found.failures],
    )


def truth_of(manifest: Manifest, labels: Sequence[str], name: str) -> np.ndarray | None:
    """(clips, classes) bool of a manifest for a metric; None where it has no labels.

    Raises:
        SpectrimError: a label that is none of `labels`.
    """
    if not manifest.labelled:
        return None
    targets = targets_of(manifest, labels, name == "accuracy", dict(audioset()), UNLABELLED)
    return indicator(targets, len(labels))


def _time(
    models: Sequence[SpectrogramTransformer],
    clips: Sequence[Clip],
    batch_size: int,
    rounds: int,
    budget: float,
    tick: Callable[[], None],
) -> list[Timing]:
    """Time the models alone on real features; few clips are repeated to `batch_size`."""
    (batch,) = batches(clips, len(clips), window_seconds(models[0]))
    features, valid = models[0].features_from_waveforms(batch.waveforms)
    repeat = torch.arange(batch_size) % len(features)
    features, valid = features[repeat], valid[repeat]

    def call(model: SpectrogramTransformer) -> Callable[[], object]:
        return lambda: model(features, valid)

    with torch.inference_mode():
        return interleaved(
            [call(model) for model in models], rounds, budget, device=features.device, tick=tick
        )


def _row(
    name: str,
    variant: Variant,
    at: int,
    found: Predictions,
    outputs: list[np.ndarray],
    truth: np.ndarray | None,
    timing: Timing,
    batch_size: int,
) -> dict[str, Any]:
    config = variant.model.config
    row: dict[str, Any] = {
        "model": name,
        "score": variant.score,
        "keep_rate": variant.keep_rate,
        "metric": config.metric if truth is not None else "agreement",
        "value": None,
        "gmacs": macs(variant.model) / 1e9,
        "ms_per_clip": timing.seconds / batch_size * 1000,
        "speedup": timing.speedup,
        "speedup_quartiles": [timing.low, timing.high],
        "timing_rounds": timing.rounds,
        "clips": len(found.positions),
        "failed": len(found.failures),
    }
    agrees = agreement(outputs[at], outputs[0], config.labels)
    if truth is None:
        row["value"] = agrees["top1"]["value"]
    else:
        row["value"] = metric(config.metric, outputs[at], truth)
        difference = paired_difference(config.metric, outputs[at], outputs[0], truth)
        row["difference"] = asdict(difference)
    row["agreement"] = agrees
    everywhere = np.concatenate(found.all_on_target)
    if not np.isnan(everywhere).all():
        row["kept_on_target"] = float(np.nanmean(np.concatenate(found.on_target[at])))
        row["all_on_target"] = float(np.nanmean(everywhere))
    return row | context_of(variant.model, name, batch_size)
