"""Exported models side by side: one row a file, its own plan, against the first file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..audio.constants import SAMPLE_RATE
from ..common.errors import SpectrimError
from ..data.batches import batches
from ..data.clip import clip_names
from ..data.manifest import Manifest
from ..deploy.onnx_model import OnnxModel
from ..metrics.classification import metric, paired_difference
from .agreement import agreement
from .predict import refuse_not_finite
from .sweep import Steps, Sweep, truth_of
from .timing import Timing, interleaved

EDGE = 0.1  # seconds beyond the window, for the resampler's edge


def sweep_files(
    models: Mapping[str, OnnxModel],
    manifest: Manifest,
    *,
    batch_size: int = 16,
    rounds: int = 20,
    steps: Steps = lambda what, done: None,
) -> dict[str, Sweep]:
    """Evaluate and time exported models; the first one is what the others are held against.

    Time is that of the whole graph, from waveforms to probabilities, unlike a sweep of a model
    of torch, whose features are computed before.

    Args:
        models: names, which the rows bear, to open files.
        rounds: of timing, see `timing.interleaved`.
        steps: progress.

    Returns:
        A sweep of one row for each file.

    Raises:
        SpectrimError: files of other classes than the first; labels that they do not know; no
            clip that can be read.
    """
    names, files = list(models), list(models.values())
    first = files[0]
    for name, model in models.items():
        if model.labels != first.labels or model.metadata.metric != first.metadata.metric:
            raise SpectrimError(
                f"{name} has other classes or another metric than {names[0]}; sweep them apart."
            )
    truth = truth_of(manifest, first.labels, first.metadata.metric)
    seconds = max(model.window for model in files) / SAMPLE_RATE + EDGE
    positions: list[int] = []
    failures: list[tuple[int, str]] = []
    parts: list[list[np.ndarray]] = [[] for _ in files]
    shown: list[np.ndarray] = []  # what is timed: the first clips that can be read
    for batch in batches(manifest.clips, batch_size, seconds):
        failures += batch.failures
        if batch.positions:
            positions += batch.positions
            shown = shown or batch.waveforms
            for part, model in zip(parts, files, strict=True):
                part.append(model.probabilities(batch.waveforms))
                refuse_not_finite(part[-1], [manifest.clips[at] for at in batch.positions])
        steps("clips", len(batch.positions) + len(batch.failures))
    if not positions:
        raise SpectrimError(
            f"{manifest.source}: none of its {len(manifest.clips)} clips could be read; the "
            f"first: {failures[0][1]}"
        )
    timed = [shown[at % len(shown)] for at in range(batch_size)]
    timings = interleaved([_call(model, timed) for model in files], rounds,
                          tick=lambda: steps("rounds", 1))  # fmt: skip
    outputs = [np.concatenate(part) for part in parts]
    if truth is not None:
        truth = truth[positions]
    paths = [str(manifest.clips[at].path) for at in positions]
    called = clip_names(manifest.clips)
    failed = [(str(manifest.clips[at].path), text) for at, text in failures]
    return {
        name: Sweep(
            [
                _row(name, names[0], models[name], output, outputs[0], truth, timing)
                | {"clips": len(paths), "failed": len(failed)}
                | models[name].context(name, batch_size)
                | {"ms_per_clip": timing.seconds / batch_size * 1000}
            ],
            [output],
            paths,
            [called[at] for at in positions],
            positions,
            failed,
        )
        for name, output, timing in zip(names, outputs, timings, strict=True)
    }


def _call(model: OnnxModel, waveforms: Sequence[np.ndarray]) -> Callable[[], object]:
    return lambda: model.probabilities(waveforms)


def _row(
    name: str,
    against: str,
    model: OnnxModel,
    output: np.ndarray,
    base: np.ndarray,
    truth: np.ndarray | None,
    timing: Timing,
) -> dict[str, Any]:
    said = model.metadata
    score, keep_rate = of_plan(said.plan)
    agrees = agreement(output, base, model.labels)
    row: dict[str, Any] = {
        "model": name,
        "score": score,
        "keep_rate": keep_rate,
        "metric": said.metric if truth is not None else "agreement",
        "value": agrees["top1"]["value"],
        "against": against,
        "quantization": said.quantization,
        "gmacs": said.macs / 1e9,
        "speedup": timing.speedup,
        "speedup_quartiles": [timing.low, timing.high],
        "timing_rounds": timing.rounds,
        "timed": "waveforms to probabilities",
        "agreement": agrees,
    }
    if truth is not None:
        row["value"] = metric(said.metric, output, truth)
        row["difference"] = asdict(paired_difference(said.metric, output, base, truth))
    return row


def of_plan(plan: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Score and keep-rate of a plan's record, where all stages have the same; else None.

    A plan without stages is unpruned: (None, 1.0).
    """
    stages = plan["stages"]
    if not stages:
        return None, 1.0
    scores = {stage["score"] for stage in stages}
    rates = {stage.get("keep_rate") for stage in stages}
    score = scores.pop() if len(scores) == 1 else "several"
    return score, rates.pop() if len(rates) == 1 else None
