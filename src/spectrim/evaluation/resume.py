"""A long pass over the clips, kept as it goes, so that an interrupted sweep goes on."""

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
import torch

from ..common.errors import SpectrimNotice
from ..common.files import save
from ..common.hooks import seconds_between_saves
from ..data.clip import Clip
from ..models.provenance import plan_record, versions
from ..models.transformer import SpectrogramTransformer
from ..pruning.reductions import REDUCTIONS
from ..pruning.scores import SCORES
from .predict import Predictions


class Partial:
    """Predictions so far, in a file that only the same models on the same clips take up again.

    Plain arrays, no pickle. `done` is how many clips of the list are behind.
    """

    def __init__(
        self, path: Path, variants: Sequence[SpectrogramTransformer], clips: Sequence[Clip]
    ) -> None:
        self.path = path
        self.key = _key(variants, clips)
        self.saved = time.monotonic()

    def load(self) -> tuple[Predictions, int]:
        """What was saved and how many clips are behind; nothing and 0 if it is another's."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["key"]) != self.key:
                    return Predictions(), 0
                found = Predictions(
                    positions=file["positions"].tolist(),
                    logits=[[part] for part in file["logits"]],
                    on_target=[[part] for part in file["on_target"]],
                    all_on_target=[file["all_on_target"]],
                    failures=[(at, text) for at, text in json.loads(str(file["failures"]))],
                )
                done = int(file["done"])
                text = f"taking up an interrupted run, {done} clips of which were done."
                warnings.warn(SpectrimNotice(text), stacklevel=2)
                return found, done
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return Predictions(), 0

    def save(self, found: Predictions, done: int, force: bool = False) -> None:
        """Save once in a while."""
        due = time.monotonic() - self.saved > seconds_between_saves()
        if not found.positions or not (force or due):
            return
        arrays = {
            "key": np.array(self.key),
            "done": np.array(done),
            "positions": np.array(found.positions),
            "failures": np.array(json.dumps(found.failures)),
            "logits": np.stack([np.concatenate(parts) for parts in found.logits]),
            "on_target": np.stack([np.concatenate(parts) for parts in found.on_target]),
            "all_on_target": np.concatenate(found.all_on_target),
        }

        def write(aside: Path) -> None:
            np.savez(aside, **arrays)  # type: ignore[arg-type]

        save(self.path, write)
        self.saved = time.monotonic()


def _key(variants: Sequence[SpectrogramTransformer], clips: Sequence[Clip]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    model = variants[0]
    about: list[Any] = [model.config.to_dict(), versions(), str(model.dtype), str(model.device)]
    about += [plan_record(variant.plan) for variant in variants]
    about += [
        [str(clip.path), clip.start, clip.end, clip.target_start, clip.target_end] for clip in clips
    ]
    stages = [stage for variant in variants for stage in variant.plan.stages]
    shipped = {*SCORES, *REDUCTIONS}
    names = [part for stage in stages for part in (stage.score, stage.reduction)]
    if not all(isinstance(name, str) and name in shipped for name in names):
        # Code of one's own may have changed since: such a run is never taken up.
        about.append(secrets.token_hex(16))
    digest.update(json.dumps(about).encode())
    for value in model.state_dict().values():
        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()
