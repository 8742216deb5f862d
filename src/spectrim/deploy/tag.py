"""Tagging of sounds of any length: windows with start, end and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.channels import MIX, Channel, check_channel
from ..audio.decode import Sound, as_sounds, sound_name
from ..audio.windows import check_hop, windows
from ..common.errors import SpectrimError
from .events import EventRule
from .read_thresholds import DEFAULT_THRESHOLD, Thresholds, class_thresholds
from .runner import Runner
from .windowed import Item, SoundOutput, outputs_by_sound

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

Failure = tuple[str, str]
"""The name of a sound, and the error that stopped its tagging."""


def tag(
    model: SpectrogramTransformer | Runner,
    sounds: Iterable[Sound] | Sound,
    *,
    top: int = 5,
    threshold: Thresholds = 0.0,
    hop: float | None = None,
    one_row: str | None = None,
    batch_size: int = 8,
    channel: Channel = MIX,
    failures: list[Failure] | None = None,
    tick: Callable[[str, float], None] = lambda name, seconds: None,
) -> list[dict[str, Any]]:
    """Tag sounds, window by window.

    Args:
        model: a PyTorch model, or an exported one from `load_onnx("model.onnx")`.
        sounds: one or several paths, bytes, open files, (samples, rate), or rows of datasets
            {"array", "sampling_rate"}. Torch tensors are channels first.
        top: labels per row, most probable first.
        threshold: minimum probability of a label; one number, or as for `find_events`.
        hop: seconds between the starts of two windows; None: a window's length. With a tail
            shorter than half a window, the last window moves back and ends with the sound.
        one_row: one row per sound: "maximum" or "mean" of the probabilities over its windows;
            None: one row per window.
        channel: an index from 0, "mix" (the mean of all channels) or "loudest" (the one with the
            highest RMS over the file, which must be seekable).
        failures: a list to which sounds that cannot be read are added; None: they raise an error.
        tick: called with a sound's name and the seconds of it that were not tagged before.

    Returns:
        Rows {"file", "start", "end", "channel", "labels": [{"label", "probability"}]}, in seconds.

    Raises:
        SpectrimError: a value out of range; without `failures` also a sound that cannot be read,
            or for which the model's output is not finite.
    """
    check_aggregate(one_row)
    check_top(top)
    runner = model if isinstance(model, Runner) else _torch_runner(model)
    thresholds = class_thresholds(threshold, runner.labels)
    channel = check_channel(channel)
    rows: list[dict[str, Any]] = []
    for output in _outputs(runner, sounds, hop, batch_size, channel, failures, tick):
        rows += rows_of(output, runner.labels, top, thresholds, one_row, channel)
    return rows


def tag_events(
    model: SpectrogramTransformer | Runner,
    sounds: Iterable[Sound] | Sound,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLD,
    release: float = 1.0,
    merge_gap: float = 0.0,
    min_duration: float = 0.0,
    hop: float | None = None,
    batch_size: int = 8,
    channel: Channel = MIX,
    failures: list[Failure] | None = None,
    tick: Callable[[str, float], None] = lambda name, seconds: None,
) -> list[dict[str, Any]]:
    """Find the events of sounds: where each class stays above its threshold.

    Args:
        model, sounds, batch_size, channel, failures, tick: as for `tag`.
        thresholds, release, merge_gap, min_duration: as for `events.find_events`.
        hop: seconds between the starts of two windows; None: half a window.

    Returns:
        Rows {"file", "label", "start", "end", "peak", "mean"}, times in seconds.

    Raises:
        SpectrimError: as `tag` and `find_events`.
    """
    rule = EventRule(thresholds, release, merge_gap, min_duration)
    runner = model if isinstance(model, Runner) else _torch_runner(model)
    class_thresholds(thresholds, runner.labels)  # before the sounds are read
    channel, hop = check_channel(channel), event_hop(runner, hop)
    rows: list[dict[str, Any]] = []
    for output in _outputs(runner, sounds, hop, batch_size, channel, failures, tick):
        events = rule.events(output.starts, output.ends, output.values, runner.labels)
        rows += [{"file": output.name} | asdict(event) for event in events]
    return rows


def event_hop(runner: Runner, hop: float | None) -> float:
    """Seconds between the starts of two windows for events; None: half a window."""
    return runner.window / 2 / runner.sample_rate if hop is None else hop


def rows_of(
    output: SoundOutput,
    labels: Sequence[str],
    top: int,
    threshold: Thresholds,
    one_row: str | None,
    channel: Channel,
) -> list[dict[str, Any]]:
    """The rows of one sound, from the probabilities of its windows; arguments as `tag`."""
    thresholds = class_thresholds(threshold, labels)
    return [
        {
            "file": output.name,
            "start": start,
            "end": end,
            "channel": channel,
            "labels": labels_of(labels, values, top, thresholds),
        }
        for start, end, values in aggregated(output, one_row)
    ]


def check_aggregate(one_row: str | None) -> None:
    """Refuse an unknown way to combine the windows of a sound."""
    if one_row not in (None, "maximum", "mean"):
        raise SpectrimError(
            f"--aggregate (in Python, one_row) is {one_row!r}; expected 'maximum' or 'mean'."
        )


def check_top(top: int) -> None:
    """Refuse a number of labels below 1."""
    if top < 1:
        raise SpectrimError(f"top is {top}; expected at least 1 label.")


def hop_samples(runner: Runner, hop: float | None) -> int:
    """Samples between the starts of two windows, from seconds; None: a window's length.

    Raises:
        SpectrimError: not above 0, longer than a window, or not finite.
    """
    if hop is not None and not math.isfinite(hop):
        raise SpectrimError(f"a hop of {hop} s; expected a finite number of seconds.")
    step = runner.window if hop is None else round(hop * runner.sample_rate)
    check_hop(runner.window, step, runner.sample_rate)
    return step


def aggregated(
    output: SoundOutput, one_row: str | None
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Start and end in seconds, rounded, and values of each row of a sound.

    Args:
        one_row: "maximum" or "mean" over all windows of the sound, which gives one row, or none
            if an output is not finite; None: one row per window.
    """
    if one_row is None:
        for start, end, values in zip(output.starts, output.ends, output.values, strict=True):
            yield round(start, 3), round(end, 3), values
    elif output.values and output.is_finite:
        stacked = np.stack(output.values)
        values = stacked.mean(0) if one_row == "mean" else stacked.max(0)
        yield round(output.starts[0], 3), round(output.ends[-1], 3), values


def _torch_runner(model: SpectrogramTransformer) -> Runner:
    from .by_length import torch_runner  # here: an exported model runs without torch

    return torch_runner(model)


def labels_of(
    labels: Sequence[str], values: np.ndarray, top: int, thresholds: np.ndarray
) -> list[dict[str, Any]]:
    """The most probable labels of (classes,) probabilities that reach (classes,) thresholds."""
    order = np.argsort(-values, kind="stable")[:top]
    return [
        {"label": labels[index], "probability": round(float(values[index]), 6)}
        for index in order
        if values[index] >= thresholds[index]
    ]


def _outputs(
    runner: Runner,
    sounds: Iterable[Sound] | Sound,
    hop: float | None,
    batch_size: int,
    channel: Channel,
    failures: list[Failure] | None,
    tick: Callable[[str, float], None],
) -> Iterator[SoundOutput]:
    """The probabilities of the windows of each sound; arguments as `tag`."""
    if batch_size < 1:
        raise SpectrimError(f"batch size {batch_size}; expected at least 1.")
    step, rate = hop_samples(runner, hop), runner.sample_rate
    items = _items(as_sounds(sounds), runner.window, step, channel, rate)
    for output in outputs_by_sound(items, runner.probabilities, batch_size, tick):
        if output.error is not None:
            if failures is None:
                raise output.error
            failures.append((output.name, str(output.error)))
        yield output


def _items(
    sounds: Iterable[Sound], size: int, hop: int, channel: Channel, rate: int
) -> Iterator[Item]:
    for number, sound in enumerate(sounds):
        name = sound_name(sound)
        try:
            for window in windows(sound, size, hop, channel, rate=rate):
                yield number, name, window
        except SpectrimError as error:
            yield number, name, error
        else:
            yield number, name, None
