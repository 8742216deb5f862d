"""Clips that set the value ranges of int8 activations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..audio.constants import SAMPLE_RATE
from ..common.errors import SpectrimError, SpectrimNotice
from ..data.batches import batches
from ..data.clip import Clip
from ..data.manifest import Manifest, read_data

CALIBRATION_CLIPS = 128
BATCH_SIZE = 8


def calibration_batches(
    source: Path,
    seconds: float,
    max_clips: int = CALIBRATION_CLIPS,
    leave_out: Sequence[str] = (),
    rate: int = SAMPLE_RATE,
) -> list[list[np.ndarray]]:
    """Batches of waveforms from a manifest or folder; notes say what was used and left out.

    Args:
        seconds: how much of each clip to decode, see `ModelConfig.seconds_to_read`.
        max_clips: evenly spaced clips are chosen if there are more.
        leave_out: folds that are not used.
        rate: sample rate in Hz.

    Raises:
        SpectrimError: an unknown fold; no clip can be read.
    """
    clips = calibration_clips(read_data(source), leave_out)
    clips = clips[:: max(1, -(-len(clips) // max_clips))]
    waveforms = []
    for batch in batches(clips, BATCH_SIZE, seconds, rate=rate):
        for index, message in batch.failures:
            _note(f"{clips[index].path} is left out of the calibration: {message}")
        if batch.waveforms:
            waveforms.append(batch.waveforms)
    if not waveforms:
        raise SpectrimError(f"{source}: no clip could be read for calibration.")
    _note(f"calibrating with {sum(map(len, waveforms))} clips of {source}.")
    return waveforms


def calibration_clips(manifest: Manifest, leave_out: Sequence[str] = ()) -> list[Clip]:
    """Clips outside the folds `leave_out`; of split 'train' alone if any have it.

    Raises:
        SpectrimError: a fold to leave out does not exist.
    """
    folds = {clip.fold for clip in manifest.clips if clip.fold}
    if unknown := sorted(set(leave_out) - folds):
        raise SpectrimError(
            f"{manifest.source}: no fold {', '.join(unknown)} to leave out. Its folds: "
            f"{', '.join(sorted(folds)) or 'none'}."
        )
    clips = [clip for clip in manifest.clips if clip.fold not in set(leave_out)]
    train = [clip for clip in clips if clip.split == "train"]
    if not train and folds and not leave_out:
        _note(
            f"{manifest.source} has folds, and all of them calibrate. Keep one for testing with "
            "--leave-out-fold."
        )
    return train or clips


def _note(text: str) -> None:
    warnings.warn(SpectrimNotice(text), stacklevel=3)
