"""The sweep: metric or agreement, MACs and measured speed of runners, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..common.errors import SpectrimError
from ..common.hooks import pass_point
from ..common.interruption import Stopped
from ..data.batches import batches
from ..data.clip import clip_names
from ..data.manifest import Manifest, targets_of
from ..deploy.runner import Runner
from ..metrics.classification import indicator, metric, paired_difference
from ..models.labels import audioset
from ..pruning.saved_plans import plan_columns
from .agreement import agreement
from .predict import Keeper, Predictions, predict, seconds_and_rate
from .runner_times import time_columns, times_of_runners
from .variants import Variant

BATCH_SIZE = 16
TIMING_BUDGET = 60.0  # seconds for all timed pairs of a sweep together
UNLABELLED = (
    "Name the model's classes with --load labels=, or use a folder or a manifest without labels: "
    "the sweep then compares with the unpruned model."
)


@dataclass(frozen=True)
class Sweep:
    """Rows for people and programs, and the data they were computed from.

    Attributes:
        rows: plain data, one per variant; the first is what the others are compared with.
        probabilities: one (clips, classes) float32 array per row.
        paths, names: of the clips, in the order of the arrays; `clip_names` makes the names, so
            that parts of one file differ.
        positions: indices of the clips in the manifest.
        failures: (path, message) of clips that could not be read.
    """

    rows: list[dict[str, Any]]
    probabilities: list[np.ndarray]
    paths: list[str]
    names: list[str]
    positions: list[int]
    failures: list[tuple[str, str]]


Steps = Callable[[str, int], None]
"""Progress: "clips" or "rounds", and how many more of them are done."""


def sweep(
    variants: Sequence[Variant],
    manifest: Manifest,
    *,
    batch_size: int = BATCH_SIZE,
    rounds: int = 20,
    budget: float = TIMING_BUDGET,
    keeper: Keeper | None = None,
    steps: Steps = lambda label, done: None,
) -> Sweep:
    """Evaluate and time variants; the others are compared with the first one.

    Variants of one PyTorch model share its features, and the model alone is timed. An exported
    file runs and is timed from waveforms to probabilities, and its row says so ("timed").

    Args:
        variants: of one model (`variants_of`), or exported files with the same classes.
        rounds, budget: of timing, see `with_times`.
        keeper: saves the predictions while they are computed, and resumes an interrupted sweep.
        steps: progress.

    Raises:
        SpectrimError: see `evaluate`.
        Stopped: Ctrl-C after the first batch; its result is a `Sweep` of what was measured.
    """
    result = evaluate(variants, manifest, batch_size=batch_size, keeper=keeper, steps=steps)
    return with_times(
        result, variants, manifest, batch_size=batch_size, rounds=rounds, budget=budget, steps=steps
    )


def evaluate(
    variants: Sequence[Variant],
    manifest: Manifest,
    *,
    batch_size: int = BATCH_SIZE,
    keeper: Keeper | None = None,
    steps: Steps = lambda label, done: None,
) -> Sweep:
    """The sweep without times; see `sweep` for the arguments.

    Raises:
        SpectrimError: variants with different classes; labels that the model does not know; no
            clip can be read; an output is not finite.
        Stopped: Ctrl-C after the first batch; its result is a `Sweep` of the clips so far. Its
            rows also have "clips_asked", the number of all clips.
    """
    first, runners = variants[0], [variant.runner for variant in variants]
    for variant in variants:
        if (variant.runner.labels, variant.runner.metric) != (
            first.runner.labels,
            first.runner.metric,
        ):
            raise SpectrimError(
                f"{variant.name} has other classes or another metric than {first.name}. Sweep "
                "them separately."
            )
    clips = manifest.clips
    truth = truth_of(manifest, first.runner.labels, first.runner.metric)
    stopped = False
    try:
        predictions = predict(runners, clips, batch_size, keeper, lambda n: steps("clips", n))
    except Stopped as stop:
        predictions, stopped = stop.result, True
        if not predictions.positions:
            raise KeyboardInterrupt from None
    if not predictions.positions:
        raise SpectrimError(
            f"{manifest.source}: none of its {len(clips)} clips could be read. The first error: "
            f"{predictions.failures[0][1]}"
        )
    probabilities = [
        runner.activate(np.concatenate(batched))
        for runner, batched in zip(runners, predictions.outputs, strict=True)
    ]
    if truth is not None:
        truth = truth[predictions.positions]
    rows = [
        _row(variant, values, probabilities[0], truth)
        | {"clips": len(predictions.positions), "failed": len(predictions.failures)}
        | ({"clips_asked": len(clips)} if stopped else {})
        | {"channel": manifest.channel}
        | _macs_columns(variant.runner, predictions.macs[index])
        | _target_columns(predictions, index)
        | _origin_columns(variant, first, batch_size)
        for index, (variant, values) in enumerate(zip(variants, probabilities, strict=True))
    ]
    names = clip_names(clips)
    result = Sweep(
        rows,
        probabilities,
        [str(clips[index].path) for index in predictions.positions],
        [names[index] for index in predictions.positions],
        list(predictions.positions),
        [(str(clips[index].path), message) for index, message in predictions.failures],
    )
    if stopped:
        raise Stopped(result)
    return result


def with_times(
    result: Sweep,
    variants: Sequence[Variant],
    manifest: Manifest,
    *,
    batch_size: int = BATCH_SIZE,
    rounds: int = 20,
    budget: float = TIMING_BUDGET,
    order: Sequence[int] | None = None,
    steps: Steps = lambda label, done: None,
) -> Sweep:
    """A sweep with the times of its variants, as far as the budget goes.

    The variants are timed on the first clips. If a batch of `batch_size` takes too long for
    three rounds of all variants within the budget, the batch is smaller ("timing_batch_size").

    Args:
        result: of `evaluate`, with the same variants and manifest.
        rounds: maximum number of timed pairs per variant.
        budget: seconds for all of them together; 0 times nothing. Variants that do not fit keep
            None as their times.
        order: positions of the variants to time, the most important first; None: all.

    Raises:
        Stopped: Ctrl-C; its result is the sweep with the times so far.
    """
    others = [index for index in order or range(len(variants)) if index != 0]
    if budget <= 0:
        return result
    runners = [variants[index].runner for index in (0, *others)]
    readable = [manifest.clips[index] for index in result.positions[:batch_size]]
    seconds, rate = seconds_and_rate(runners)
    (batch,) = batches(readable, len(readable), seconds, rate=rate)
    waveforms = [batch.waveforms[n % len(readable)] for n in range(batch_size)]

    def tick() -> None:
        steps("rounds", 1)
        pass_point("sweep:rounds")

    stopped = False
    try:
        columns = times_of_runners(runners, waveforms, rounds, budget, tick)
    except Stopped as stop:
        columns, stopped = stop.result, True
    rows = list(result.rows)
    for index, times in zip((0, *others), columns, strict=True):
        rows[index] = rows[index] | times
    timed = replace(result, rows=rows)
    if stopped:
        raise Stopped(timed)
    return timed


def truth_of(manifest: Manifest, labels: Sequence[str], name: str) -> np.ndarray | None:
    """(clips, classes) bool of a manifest for a metric; None if it has no labels.

    Raises:
        SpectrimError: a label that is not one of `labels`.
    """
    if not manifest.labelled:
        return None
    targets = targets_of(manifest, labels, name == "accuracy", dict(audioset()), UNLABELLED)
    return indicator(targets, len(labels))


def _row(
    variant: Variant,
    probabilities: np.ndarray,
    base: np.ndarray,
    truth: np.ndarray | None,
) -> dict[str, Any]:
    """The measured columns, not timed yet; `base`: probabilities of the first variant."""
    runner = variant.runner
    agrees = agreement(probabilities, base, runner.labels)
    row: dict[str, Any] = {
        "model": variant.name,
        **plan_columns(runner.plan),
        "metric": "agreement" if truth is None else runner.metric,
        "value": agrees["top1"]["value"],
        "gmacs": runner.macs / 1e9,
        **time_columns(None, 0),
        "agreement": agrees,
    }
    if variant.is_recommended:
        row["recommended"] = True
    if variant.matched_keep_rate is not None:
        row["keep_rate_of_stages"] = row["keep_rate"]
        row["keep_rate"] = variant.matched_keep_rate
    if truth is not None:
        row["value"] = metric(runner.metric, probabilities, truth)
        difference = paired_difference(runner.metric, probabilities, base, truth)
        row["difference"] = asdict(difference)
    return row


def _macs_columns(runner: Runner, macs: Sequence[np.ndarray]) -> dict[str, float]:
    """Mean GMACs of the clips; empty if they keep the same numbers and cost "gmacs" each."""
    if not runner.is_adaptive:
        return {}
    return {"mean_gmacs": float(np.concatenate(macs).mean()) / 1e9}


def _target_columns(predictions: Predictions, index: int) -> dict[str, float]:
    """Mean fraction of patches on the target, kept and all; empty if no clip has a target."""
    all_on_target = np.concatenate(predictions.all_on_target)
    if np.isnan(all_on_target).all():
        return {}
    kept_on_target = np.concatenate(predictions.on_target[index])
    return {
        "kept_on_target": float(np.nanmean(kept_on_target)),
        "all_on_target": float(np.nanmean(all_on_target)),
    }


def _origin_columns(variant: Variant, first: Variant, batch_size: int) -> dict[str, Any]:
    """How the row was computed; an exported file's row also names what it is compared with."""
    runner = variant.runner
    columns = runner.context(variant.name, batch_size)
    if runner.quantization is None:
        del columns["backend"]  # rows of PyTorch models never had it
        return columns
    return columns | {
        "against": first.name,
        "quantization": runner.quantization,
        "timed": runner.timed,
    }
