"""Clips that set the value ranges of int8, for export and bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .output import complain

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_BATCH, CALIBRATION_CLIPS = 8, 128


def calibration_clips(
    source: Path,
    seconds: float,
    most: int = CALIBRATION_CLIPS,
    leave_out: Sequence[str] | None = None,
) -> list[list[np.ndarray]]:
    """Batches of waveforms of at most `most` clips, evenly chosen; what cannot be read is left out.

    Of a manifest with splits those of 'train'; `leave_out`: folds that are not used; `seconds`:
    no more than this of each clip, see `window_seconds`.
    """
    from ..common.errors import SpectrimError
    from ..data.batches import batches
    from ..data.manifest import read_data

    clips = read_data(source).clips
    folds = {clip.fold for clip in clips}
    if missing := sorted(set(leave_out or ()) - {fold for fold in folds if fold}):
        raise SpectrimError(f"{source}: no fold {', '.join(missing)} that could be left out.")
    used = [clip for clip in clips if clip.fold not in set(leave_out or ())]
    if any(clip.split == "train" for clip in used):
        used = [clip for clip in used if clip.split == "train"]
    elif not leave_out and any(folds):
        complain("note", f"{source} has folds, all of which calibrate; --leave-out-fold keeps one "
                 "for testing.")  # fmt: skip
    used = used[:: max(1, -(-len(used) // most))]
    found = []
    for batch in batches(used, CALIBRATION_BATCH, seconds):
        for at, message in batch.failures:
            complain("failed", f"{used[at].path}, left out of the calibration: {message}")
        if batch.waveforms:
            found.append(batch.waveforms)
    if not found:
        raise SpectrimError(f"{source}: no clip to calibrate with could be read.")
    complain("note", f"calibrating with {sum(map(len, found))} clips of {source}.")
    return found
