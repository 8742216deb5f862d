"""Clips that are much shorter than the window: how a shorter model agrees with the full one."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..audio.decode import duration_of
from ..common.errors import SpectrimNotice
from ..data.batches import batches
from ..data.clip import Clip
from ..deploy.by_length import ByLength, length_of_most, shorter_length
from ..deploy.torch_runner import TorchRunner
from ..models.lengths import AUTO, lengths_of
from ..models.transformer import SpectrogramTransformer
from ..pruning.plan import Plan
from .agreement import agreement


def compare_lengths(
    model: SpectrogramTransformer, clips: Sequence[Clip], batch_size: int = 8
) -> dict[str, Any] | None:
    """Compare the unpruned model with the shorter ones of `--frames N` and `--frames auto`.

    Returns:
        {"clip_seconds": what `MOST` clips do not exceed, "window_seconds", "rows": [{"frames": a
        number or "auto", "work": fraction of the multiply-accumulates, mean over clips,
        "agreement": see `agreement`}]}. None if a shorter length saves little, or no clip can be
        read.
    """
    counts = Counter(seconds for clip in clips if (seconds := _seconds(clip)))
    longest = length_of_most(counts)
    full = model.with_plan(Plan())
    full.set_lengths(())
    if (shorter := shorter_length(full, longest)) is None:
        return None
    frames, work = shorter
    several = model.with_plan(Plan())
    several.set_lengths(lengths_of(model.config))
    by_length = ByLength(several)
    runners = {None: TorchRunner(full), frames: TorchRunner(full.adapted(frames)), AUTO: by_length}
    outputs: dict[int | str | None, list[np.ndarray]] = {key: [] for key in runners}
    works = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)  # the rows of `check` come with them
        for batch in batches(
            clips, batch_size, model.config.seconds_to_read, rate=model.config.sample_rate
        ):
            if not batch.waveforms:
                continue
            for key, runner in runners.items():
                outputs[key].append(runner.probabilities(batch.waveforms))
            works += [by_length.macs_of(waveform) / by_length.macs for waveform in batch.waveforms]
    if not works:
        return None
    base = np.concatenate(outputs[None])
    rows = [
        {
            "frames": key,
            "work": part,
            "agreement": agreement(np.concatenate(outputs[key]), base, model.labels),
        }
        for key, part in ((frames, work), (AUTO, float(np.mean(works))))
    ]
    window = model.config.window_seconds
    return {"clip_seconds": longest, "window_seconds": window, "rows": rows}


def _seconds(clip: Clip) -> float:
    """Length of a clip; 0 if it is not known."""
    end = clip.end
    if end is None and (end := duration_of(clip.path)) is None:
        return 0.0
    return max(0.0, end - (clip.start or 0.0))
