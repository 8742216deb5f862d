"""How long passes over clips will take, measured on the first clips before they start."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace

from ..common.errors import SpectrimError, SpectrimNotice
from ..data.manifest import Manifest

TRIES = 3  # clips that may be unreadable before the estimate gives up
QUICK = 1.0  # seconds that the second measurement may take


def estimated_seconds(
    run: Callable[[Manifest], object], manifest: Manifest, batch_size: int
) -> float | None:
    """Expected seconds of a function of a manifest, in proportion to the clips.

    Args:
        run: what will run on all clips.
        batch_size: clips that it takes at once.

    Returns:
        None if the first clips cannot be run, so that the real run reports why.
    """

    def seconds(first: int, count: int) -> float | None:
        part = replace(manifest, clips=manifest.clips[first : first + count])
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():  # the real run gives the same notices
                warnings.simplefilter("ignore", SpectrimNotice)
                run(part)
        except SpectrimError:
            return None
        return time.perf_counter() - began

    for first in range(min(TRIES, len(manifest.clips))):
        alone = seconds(first, 1)
        if alone is None:
            continue
        # The first run includes preparations, and a batch takes less per clip: repeat if quick.
        count = min(batch_size, int(QUICK / alone), len(manifest.clips) - first)
        again = seconds(first, count) if count else None
        per_clip = alone if again is None else min(alone, again / count)
        return per_clip * len(manifest.clips)
    return None
