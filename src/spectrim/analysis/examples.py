"""Figure 3: single clips, and which of their patches each model keeps after each pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..audio.filterbank import pad_with_minimum
from ..common.errors import SpectrimError
from ..data.batches import batches
from ..data.clip import Clip
from ..data.manifest import Manifest
from ..evaluation.predict import window_seconds
from ..models.transformer import SpectrogramTransformer
from ..pruning.context import Context
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .patches import FeatureCache, View
from .second_pass import Run, Subject


@dataclass(frozen=True)
class Picture:
    """What one pruned model keeps of a clip.

    Attributes:
        model, score: which.
        view: of the model: its grid and how its features are normalised.
        features: (frames, mels) normalised log-mel, padding at the clip's minimum.
        valid: frames that are sound.
        plain, pruned: (label, probability) of the top class without and with pruning.
        blocks: where the stages stand.
        stays: (1 + stages, columns, rows) bool: patches there before any pruning, after each.
    """

    model: str
    score: str
    view: View
    features: np.ndarray
    valid: int
    plain: tuple[str, float]
    pruned: tuple[str, float]
    blocks: list[int | str]
    stays: np.ndarray


@dataclass(frozen=True)
class Example:
    """A clip, the sound that the models hear of it, and a picture a model and score."""

    clip: Clip
    waveform: np.ndarray
    pictures: list[Picture]


def choose(manifest: Manifest, readable: Sequence[int], count: int, seed: int) -> list[int]:
    """Positions of `count` clips drawn by lot, of as many different labels as there are."""
    drawn = np.random.default_rng(seed).permutation(np.asarray(readable, int)).tolist()
    times: dict[tuple[str, ...], int] = {}
    turns = []
    for position in drawn:
        labels = manifest.clips[position].labels
        turns.append((times.get(labels, 0), position))
        times[labels] = times.get(labels, 0) + 1
    # A second clip of a label comes after the first ones of all labels; the sort is stable.
    return [position for _, position in sorted(turns, key=lambda turn: turn[0])][:count]


def find(manifest: Manifest, names: Sequence[str]) -> list[int]:
    """Positions of clips by path, file name, or file name without its suffix; the first of each.

    Names that no clip bears are left out: they may be another manifest's.
    """
    found = []
    for name in names:
        for position, clip in enumerate(manifest.clips):
            if name in (str(clip.path), clip.path.name, clip.path.stem):
                found.append(position)
                break
    return list(dict.fromkeys(found))


@torch.inference_mode()
def look_at(manifest: Manifest, position: int, subjects: Sequence[Subject]) -> Example:
    """Run every pruned model on one clip.

    Raises:
        SpectrimError: the clip cannot be read.
    """
    clip = manifest.clips[position]
    seconds = max(window_seconds(subject.plain) for subject in subjects)
    (batch,) = batches([clip], 1, seconds)
    if batch.failures:
        raise SpectrimError(batch.failures[0][1])
    feature_cache = FeatureCache(batch.waveforms)
    pictures = [
        _picture(subject, run, feature_cache, _top(subject.plain, feature_cache))
        for subject in subjects
        for run in subject.runs
    ]
    return Example(clip, batch.waveforms[0], pictures)


def _picture(
    subject: Subject, run: Run, feature_cache: FeatureCache, plain: tuple[str, float]
) -> Picture:
    features, valid = feature_cache.features(run.model)
    grid = run.view.grid
    order = run.view.places(run.model)
    stays = [np.ones(grid.count, bool)]

    def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
        if stage is not None:
            left = np.zeros(grid.count, bool)
            left[order[after.origin[0].cpu().numpy()]] = True
            stays.append(left)

    tokens = run.model.encode(features, valid, watch=watch)
    logits = run.model.head(run.model.pool(tokens)).float()
    return Picture(
        model=subject.name,
        score=run.score,
        view=run.view,
        features=pad_with_minimum(features.float(), valid)[0].cpu().numpy(),
        valid=int(valid[0]),
        plain=plain,
        pruned=_label(run.model, logits),
        blocks=run.places,
        stays=np.stack(stays).reshape(-1, grid.columns, grid.rows),
    )


def _top(model: SpectrogramTransformer, feature_cache: FeatureCache) -> tuple[str, float]:
    return _label(model, model(*feature_cache.features(model)))


def _label(model: SpectrogramTransformer, logits: torch.Tensor) -> tuple[str, float]:
    probability, at = model.probabilities(logits)[0].max(0)
    return model.labels[int(at)], float(probability)
