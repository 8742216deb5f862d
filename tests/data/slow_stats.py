"""Mean and standard deviation of log-mel as one would compute them without care for memory."""

from __future__ import annotations

import numpy as np
import torch

from spectrim.audio.decode import read
from spectrim.audio.filterbank import FilterBank


def mean_and_std(clips, seconds=None):
    """Both, over the features of all clips, one by one, in memory."""
    bank = FilterBank()
    values = []
    for clip in clips:
        features, valid = bank(torch.from_numpy(read(clip.path, clip.start, seconds))[None])
        assert features.shape[1] == valid.item()
        values.append(features.numpy().astype(np.float64).ravel())
    values = np.concatenate(values)
    return values.mean(), values.std()
