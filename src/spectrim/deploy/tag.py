"""Tagging of sounds of any length: windows with start, end and labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.channels import MIX, Channel, check_channel
from ..audio.constants import SAMPLE_RATE
from ..audio.decode import Sound, as_sounds, sound_name
from ..audio.windows import Window, check_hop, windows
from ..common.errors import SpectrimError, not_finite
from .runner import Runner

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

Failure = tuple[str, str]
"""The name of a sound, and the error that stopped its tagging."""


def tag(
    model: SpectrogramTransformer | Runner,
    sounds: Iterable[Sound] | Sound,
    *,
    top: int = 5,
    threshold: float = 0.0,
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
        top: labels per row, most probable first; threshold: minimum probability.
        hop: seconds between the starts of two windows; None: a window's length. With a tail
            shorter than half a window, the last window moves back and ends with the sound.
        one_row: one row per sound: "maximum" or "mean" of the probabilities over its windows;
            None: one row per window.
        channel: an index from 0, "mix" (the mean of all channels) or "loudest" (the one with the
            highest RMS over the file, which must be seekable).
        failures: a list to which sounds that cannot be read are added; None: they raise an error.
        tick: called with a sound's name and the seconds tagged since the last call.

    Returns:
        Rows {"file", "start", "end", "channel", "labels": [{"label", "probability"}]}, in seconds.

    Raises:
        SpectrimError: a value out of range; without `failures` also a sound that cannot be read,
            or for which the model's output is not finite.
    """
    if one_row not in (None, "maximum", "mean"):
        raise SpectrimError(f"one_row is {one_row!r}; expected 'maximum', 'mean' or None.")
    if top < 1 or batch_size < 1 or not 0 <= threshold <= 1:
        raise SpectrimError(
            f"top {top}, batch size {batch_size}, threshold {threshold}; expected at least 1, at "
            "least 1, and 0 to 1."
        )
    runner = model if isinstance(model, Runner) else _torch_runner(model)
    size = runner.window
    if hop is not None and not math.isfinite(hop):
        raise SpectrimError(f"a hop of {hop} s; expected a finite number of seconds.")
    step = size if hop is None else round(hop * SAMPLE_RATE)
    check_hop(size, step)
    channel = check_channel(channel)
    stream = _stream(as_sounds(sounds), size, step, channel, failures)
    rows: list[dict[str, Any]] = []
    broken: set[int] = set()
    pooled: dict[int, tuple[dict[str, Any], np.ndarray, int]] = {}
    while batch := list(itertools.islice(stream, batch_size)):
        outputs = runner.probabilities([window.samples for _, _, window in batch])
        for (number, name, window), values in zip(batch, outputs, strict=True):
            row = {"file": name, "start": round(window.start, 3), "end": round(window.end, 3)}
            row["channel"] = channel
            if not np.isfinite(values).all():
                if failures is None:
                    raise not_finite(name)
                if number not in broken:
                    failures.append((name, str(not_finite(name))))
                broken.add(number)
            elif one_row is None:
                rows.append(row | {"labels": labels_of(runner.labels, values, top, threshold)})
            else:
                first, sofar, count = pooled.get(number, (row, np.zeros_like(values), 0))
                combined = sofar + values if one_row == "mean" else np.maximum(sofar, values)
                pooled[number] = (first | {"end": row["end"]}, combined, count + 1)
            tick(name, window.end - window.start)
    for number, (row, values, count) in pooled.items():
        if number in broken:
            continue
        values = values / count if one_row == "mean" else values
        rows.append(row | {"labels": labels_of(runner.labels, values, top, threshold)})
    return rows


def _torch_runner(model: SpectrogramTransformer) -> Runner:
    from .torch_runner import TorchRunner  # here: an exported model runs without torch

    return TorchRunner(model)


def labels_of(
    labels: Sequence[str], values: np.ndarray, top: int, threshold: float
) -> list[dict[str, Any]]:
    """The most probable labels of (classes,) probabilities."""
    order = np.argsort(-values, kind="stable")[:top]
    return [
        {"label": labels[index], "probability": round(float(values[index]), 6)}
        for index in order
        if values[index] >= threshold
    ]


def _stream(
    sounds: Iterable[Sound],
    size: int,
    hop: int,
    channel: Channel,
    failures: list[Failure] | None,
) -> Iterator[tuple[int, str, Window]]:
    for number, sound in enumerate(sounds):
        name = sound_name(sound)
        try:
            for window in windows(sound, size, hop, channel):
                yield number, name, window
        except SpectrimError as error:
            if failures is None:
                raise
            failures.append((name, str(error)))
