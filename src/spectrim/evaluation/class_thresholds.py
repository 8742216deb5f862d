"""Thresholds of a model's classes, chosen on labelled clips."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError
from ..common.files import save, save_json
from ..data.manifest import Manifest, targets_of
from ..deploy.runner import Runner
from ..metrics.choose_threshold import choose_threshold
from ..metrics.classification import indicator
from ..metrics.intervals import Interval
from ..models.labels import audioset
from .predict import growing_batches, refuse_not_finite

FORMAT = "spectrim-thresholds"
FORMAT_VERSION = 1
SUFFIXES = (".csv", ".json")
UNKNOWN_LABEL = "Name the model's classes with --load labels=, or correct the manifest."
INTERVALS = ("threshold", "f1", "precision", "recall")


@dataclass(frozen=True)
class ModelThresholds:
    """Thresholds of the classes that occur in the clips.

    Attributes:
        rows: per class its label, threshold and what it achieves; a `threshold` of None means
            that no threshold reaches the precision.
        left_out: classes without a clip, or without a clip that lacks them.
        num_clips: that were read.
        failures: (path, message) of those that could not be read.
    """

    rows: list[dict[str, Any]]
    left_out: list[str]
    num_clips: int
    failures: list[tuple[str, str]]


def model_thresholds(
    runner: Runner,
    manifest: Manifest,
    *,
    precision: float | None = None,
    batch_size: int = 16,
    tick: Callable[[int], None] = lambda clips: None,
) -> ModelThresholds:
    """Choose the thresholds of a model's classes on labelled clips.

    A clip that is longer than the model's window is cut.

    Args:
        precision: maximise the recall at this precision; None: maximise F1.
        tick: called with the number of clips done, after each batch.

    Raises:
        SpectrimError: a precision out of range; clips without labels, or with labels that the
            model does not have; no clip can be read; an output is not finite.
    """
    check_precision(precision)
    if not manifest.labelled:
        raise SpectrimError(
            f"{manifest.source}: has no labels. Pass a manifest with the columns path and label."
        )
    targets = targets_of(manifest, runner.labels, False, dict(audioset()), UNKNOWN_LABEL)
    truth = indicator(targets, len(runner.labels))
    positions, outputs, failures = _outputs(runner, manifest, batch_size, tick)
    if not positions:
        raise SpectrimError(f"{manifest.source}: no clip can be read; {failures[0][1]}")
    truth, scores = truth[positions], np.concatenate(outputs)
    rows, left_out = [], []
    for index, label in enumerate(runner.labels):
        hits = truth[:, index]
        if hits.all() or not hits.any():
            left_out.append(label)
        else:
            rows.append(_row(label, scores[:, index], hits, precision))
    if not rows:
        raise SpectrimError(
            f"{manifest.source}: no class has both clips with it and clips without it, so no "
            "threshold can be chosen."
        )
    return ModelThresholds(rows, left_out, len(positions), failures)


def save_thresholds(path: Path, rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> Path:
    """Write thresholds as JSON, or as CSV without the record of how they were chosen."""
    check_suffix(path)
    if path.suffix.lower() == ".json":
        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return save_json(path, header | record | {"rows": list(rows)})

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    return save(path, write)


def check_precision(precision: float | None) -> None:
    """Refuse a precision that is no share."""
    if precision is not None and not 0 < precision <= 1:
        raise SpectrimError(f"precision {precision}; expected more than 0 and at most 1.")


def check_suffix(path: Path) -> None:
    """Refuse a name that `read_thresholds` would refuse."""
    if path.suffix.lower() not in SUFFIXES:
        raise SpectrimError(f"--out {path}: expected a file name that ends in .csv or .json.")


def _outputs(
    runner: Runner, manifest: Manifest, batch_size: int, tick: Callable[[int], None]
) -> tuple[list[int], list[np.ndarray], list[tuple[str, str]]]:
    """Positions of the clips that were read, their probabilities per batch, and failures."""
    clips, seconds, rate = manifest.clips, runner.seconds_to_read, runner.sample_rate
    positions: list[int] = []
    outputs: list[np.ndarray] = []
    failures: list[tuple[str, str]] = []
    for start, batch in growing_batches(clips, batch_size, seconds, rate=rate):
        failures += [(str(clips[start + index].path), text) for index, text in batch.failures]
        if batch.positions:
            indices = [start + index for index in batch.positions]
            outputs.append(runner.probabilities(batch.waveforms))
            refuse_not_finite(outputs[-1], [clips[index] for index in indices])
            positions += indices
        tick(len(batch.positions) + len(batch.failures))
    return positions, outputs, failures


def _row(
    label: str, scores: np.ndarray, hits: np.ndarray, precision: float | None
) -> dict[str, Any]:
    chosen = choose_threshold(scores, hits, precision)
    row: dict[str, Any] = {"label": label}
    for name in INTERVALS:
        interval: Interval | None = None if chosen is None else getattr(chosen, name)
        row[name] = None if interval is None else interval.value
        row[f"{name}_low"] = None if interval is None else interval.low
        row[f"{name}_high"] = None if interval is None else interval.high
    return row | {"positives": int(hits.sum()), "clips": len(hits)}
