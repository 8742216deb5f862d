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
from ..evaluation.predict import seconds_and_rate
from ..models.transformer import SpectrogramTransformer
from ..pruning.context import Context
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .patch_statistics import FeatureCache, View
from .second_pass import AnalyzedModel, PrunedModel


@dataclass(frozen=True)
class Picture:
    """The patches of a clip that one pruned model keeps.

    Attributes:
        model, score: their names; for another reduction than keep-top, `PrunedModel.label`.
        view: of the model: its grid and how its features are normalised.
        features: (frames, mels) normalised log-mel, padding at the clip's minimum.
        valid: frames that are sound.
        unpruned, pruned: (label, probability) of the top class without and with pruning.
        blocks: where the stages stand, from 0, or "input".
        holders: (1 + stages, columns, rows) position of the token that holds each patch, before any
            pruning and after each stage; -1 if it was dropped. Merged patches share a token.
    """

    model: str
    score: str
    view: View
    features: np.ndarray
    valid: int
    unpruned: tuple[str, float]
    pruned: tuple[str, float]
    blocks: list[int | str]
    holders: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """(1 + stages, columns, rows) bool: patches that a token holds."""
        return self.holders >= 0

    @property
    def merges(self) -> bool:
        """Whether any token holds several patches."""
        return any(np.unique(held[held >= 0]).size < (held >= 0).sum() for held in self.holders)


@dataclass(frozen=True)
class Example:
    """A clip, the samples that the models process, and a picture for each model and score.

    `rate`: samples per second of `waveform`.
    """

    clip: Clip
    waveform: np.ndarray
    rate: int
    pictures: list[Picture]


def choose_clips(manifest: Manifest, readable: Sequence[int], count: int, seed: int) -> list[int]:
    """Positions of `count` random clips, of as many different labels as possible."""
    shuffled = np.random.default_rng(seed).permutation(np.asarray(readable, int)).tolist()
    seen: dict[tuple[str, ...], int] = {}
    turns = []
    for position in shuffled:
        labels = manifest.clips[position].labels
        turns.append((seen.get(labels, 0), position))
        seen[labels] = seen.get(labels, 0) + 1
    # A second clip of a label comes after the first ones of all labels; the sort is stable.
    return [position for _, position in sorted(turns, key=lambda turn: turn[0])][:count]


def find_clips(manifest: Manifest, names: Sequence[str]) -> list[int]:
    """Positions of clips by path, file name, or file name without its suffix; the first match.

    Names that match no clip are left out: they may belong to another manifest.
    """
    positions = []
    for name in names:
        for position, clip in enumerate(manifest.clips):
            if name in (str(clip.path), clip.path.name, clip.path.stem):
                positions.append(position)
                break
    return list(dict.fromkeys(positions))


@torch.inference_mode()
def make_example(manifest: Manifest, position: int, models: Sequence[AnalyzedModel]) -> Example:
    """Run every pruned model on one clip.

    Raises:
        SpectrimError: the clip cannot be read.
    """
    clip = manifest.clips[position]
    seconds, rate = seconds_and_rate(model.unpruned.config for model in models)
    (batch,) = batches([clip], 1, seconds, rate=rate)
    if batch.failures:
        raise SpectrimError(batch.failures[0][1])
    feature_cache = FeatureCache(batch.waveforms)
    pictures = [
        _picture(model.name, pruned, feature_cache, _top(model.unpruned, feature_cache))
        for model in models
        for pruned in model.pruned
    ]
    return Example(clip, batch.waveforms[0], rate, pictures)


def _picture(
    name: str, pruned: PrunedModel, feature_cache: FeatureCache, unpruned: tuple[str, float]
) -> Picture:
    features, valid = feature_cache.features(pruned.model)
    grid = pruned.view.grid
    order = pruned.view.order_of(pruned.model)
    holders = [np.arange(grid.count)]

    def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
        if stage is not None:
            in_view = np.empty(grid.count, int)
            in_view[order] = after.holders(grid.count)[0].cpu().numpy()
            holders.append(in_view)

    tokens = pruned.model.encode(features, valid, watch=watch)
    logits = pruned.model.head(pruned.model.pool(tokens)).float()
    return Picture(
        model=name,
        score=pruned.label,
        view=pruned.view,
        features=pad_with_minimum(features.float(), valid)[0].cpu().numpy(),
        valid=int(valid[0]),
        unpruned=unpruned,
        pruned=_label(pruned.model, logits),
        blocks=pruned.blocks,
        holders=np.stack(holders).reshape(-1, grid.columns, grid.rows),
    )


def _top(model: SpectrogramTransformer, feature_cache: FeatureCache) -> tuple[str, float]:
    return _label(model, model(*feature_cache.features(model)))


def _label(model: SpectrogramTransformer, logits: torch.Tensor) -> tuple[str, float]:
    probability, index = model.probabilities(logits)[0].max(0)
    return model.labels[int(index)], float(probability)
