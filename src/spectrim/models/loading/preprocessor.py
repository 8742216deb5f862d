"""What the preprocessor_config.json of an ASTFeatureExtractor says of mean, std and padding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...audio.constants import MELS, SAMPLE_RATE
from ...common.errors import SpectrimError
from ..config import AUDIOSET_MEAN, AUDIOSET_STD
from .state_dict import AUDIOSET_SOUND


def hearing(
    preprocessor: Mapping[str, Any] | None, where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Our mean, std and padding, and what of them is assumed.

    The extractor normalises as ours does, (x - mean) / (2 * std), after padding with zero.

    Args:
        preprocessor: the file's content; None: there is none.
        where: the model, for messages.

    Raises:
        SpectrimError: another sample rate or number of mel bins, or no finite numbers.
    """
    said = {} if preprocessor is None else preprocessor
    for key, ours in (("sampling_rate", SAMPLE_RATE), ("num_mel_bins", MELS)):
        if said.get(key, ours) != ours:
            raise SpectrimError(
                f"{where}: preprocessor_config.json says {key} {said[key]!r}; Spectrim hears "
                f"{ours} only."
            )
    if not said.get("do_normalize", True):
        return {"mean": 0.0, "std": 0.5, "padding": "zero"}, {}  # (x - 0) / (2 * 0.5) is x
    sound: dict[str, Any] = {"padding": "zero"}
    for key, usual in (("mean", AUDIOSET_MEAN), ("std", AUDIOSET_STD)):
        value = said.get(key, usual)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or (key == "std" and value <= 0):
            raise SpectrimError(
                f"{where}: preprocessor_config.json says {key} {value!r}; wanted a finite number"
                f"{' above 0' if key == 'std' else ''}."
            )
        sound[key] = float(value)
    return sound, dict(AUDIOSET_SOUND) if preprocessor is None else {}
