"""Saving predictions while a sweep runs, to resume an interrupted sweep."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimNotice
from ..common.files import save_arrays
from ..common.hooks import seconds_between_saves
from ..data.clip import Clip
from ..models.provenance import plan_record, versions, weights_digest
from ..models.transformer import SpectrogramTransformer
from .predict import Predictions


class Partial:
    """Predictions so far, in a file that only the same models on the same clips resume from.

    The file holds plain arrays, no pickle. Remove it when the result is saved.

    Args:
        path: the file.
        models: PyTorch models with their plans, in the order of the predictions.
        clips: all clips of the sweep.
    """

    def __init__(
        self, path: Path, models: Sequence[SpectrogramTransformer], clips: Sequence[Clip]
    ) -> None:
        self.path = path
        self.key = _key(models, clips)
        self.last_save = time.monotonic()

    def load(self) -> tuple[Predictions, int]:
        """Saved predictions and how many clips they cover; none and 0 if the key differs."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["key"]) != self.key:
                    return Predictions(), 0
                predictions = Predictions(
                    positions=file["positions"].tolist(),
                    outputs=[[array] for array in file["logits"]],
                    on_target=[[array] for array in file["on_target"]],
                    macs=[[array] for array in file["macs"]],
                    all_on_target=[file["all_on_target"]],
                    failures=[(index, text) for index, text in json.loads(str(file["failures"]))],
                )
                num_done = int(file["done"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return Predictions(), 0
        text = f"{self.path}: resuming an interrupted run: {num_done} clips are done."
        warnings.warn(SpectrimNotice(text), stacklevel=2)
        return predictions, num_done

    def save(self, predictions: Predictions, num_done: int, force: bool = False) -> None:
        """Save if `seconds_between_saves` have passed, or with `force`."""
        is_due = time.monotonic() - self.last_save > seconds_between_saves()
        if not predictions.positions or not (force or is_due):
            return
        save_arrays(
            self.path,
            key=np.array(self.key),
            done=np.array(num_done),
            positions=np.array(predictions.positions),
            failures=np.array(json.dumps(predictions.failures)),
            logits=np.stack([np.concatenate(batched) for batched in predictions.outputs]),
            on_target=np.stack([np.concatenate(batched) for batched in predictions.on_target]),
            macs=np.stack([np.concatenate(batched) for batched in predictions.macs]),
            all_on_target=np.concatenate(predictions.all_on_target),
        )
        self.last_save = time.monotonic()


def _key(models: Sequence[SpectrogramTransformer], clips: Sequence[Clip]) -> str:
    """Digest of everything that the predictions depend on."""
    model = models[0]
    settings: list[Any] = [weights_digest(model), versions(), str(model.dtype), str(model.device)]
    settings += [plan_record(variant.plan) for variant in models]
    settings += [
        [str(c.path), c.start, c.end, c.target_start, c.target_end, c.channel] for c in clips
    ]
    if not all(variant.plan.is_built_in for variant in models):
        # The user's own code may have changed since, so such a run never resumes.
        settings.append(secrets.token_hex(16))
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=16).hexdigest()
