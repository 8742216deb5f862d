"""The config of a model: plain values, never code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..audio.constants import seconds_to_read
from ..audio.front_ends import FrontEnd, front_end
from ..common.errors import SpectrimError, nearest
from ..common.text import shortened
from ..common.values import check_values, duplicates, has_type, number, one_of
from ..pruning.patches import PATCH, PatchGrid
from ..pruning.trained_range import TrainedRange

AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974
AUDIOSET_CLASSES = 527
# Limits far above every published model. A file with larger values is damaged or hostile.
MAX_WIDTH, MAX_DEPTH, MAX_MELS, MAX_PREFIX_TOKENS = 65_536, 1_024, 4_096, 1_024
MAX_FRAMES = 10_000_000  # 28 hours
LABEL_SEPARATOR = ";"  # between the labels of a clip in a manifest
NO_CLASSES = "no classes: pre-trained"  # the one label of a model that was only pre-trained
NEW_KEYS = (
    *("norm_first", "norm_after_embedding", "positions_kept", "head_norm", "front_end"),
    *("sample_rate", "std_factor", "mel_scale", "mel_shift", "trained_range", "patch"),
    "licence",
)
"""Keys that the first files did not have; written only where a value differs from its default."""


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a model: everything except its weights and its plan.

    Attributes:
        name: preset or source, for messages and result rows.
        family: a key of `presets.FAMILIES`, such as "ast"; the published results that the model
            is compared with.
        width, depth, heads: of the transformer; the MLP is 4 times as wide.
        frames, mels: of the features; stride, patch: of the patches, both (frequency, time).
        num_prefix_tokens: prefix tokens in front; 2 for AST (class, distillation), 1 for AudioMAE.
            A model whose prefix tokens have no position (EAT) stores zeros as their positions.
        frequency_major: order of patches, see `PatchGrid`.
        norm_first: whether a block normalises the input of attention and MLP (pre-norm). False
            (EAT): it normalises the sum after each residual (post-norm).
        norm_after_embedding: whether a LayerNorm follows the embedding (EAT).
        pool: "prefix" (AST: mean of the prefix tokens), "patches" (AudioMAE: mean of the patches)
            or "normalised-patches" (CED: the same after a last LayerNorm). A pre-norm model with
            "prefix" normalises the prefix tokens too.
        learned_positions: False (AudioMAE): fixed 2-D sine and cosine.
        positions_kept: for a shorter window, the "middle" columns (AST) or the "first" ones.
        eps, head_eps: of the norms in the blocks, and of the one before the head.
        head_norm: "layer" or "batch": the norm before the head, a LayerNorm or a BatchNorm
            without scale and shift.
        labels: names of the classes, in the order of the logits.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy".
        front_end: name of the feature extractor, a key of `audio.front_ends.FRONT_ENDS`.
        sample_rate: of the waveforms, in Hz; that of the front end.
        mean, std, std_factor: features are normalised as (x - mean) / (std_factor * std).
        mel_scale, mel_shift: one number per mel bin, which multiply the normalised features and
            are added to them (CED: a BatchNorm over bins); empty: neither.
        padding: "minimum" or "zero": value of the features after the end of a clip.
        trained_range: the plans that the model was trained for by elastic training; None: it was
            not.
        licence: of the recordings that the model, or the model it was fine-tuned from, was trained
            on; empty: unknown.
    """

    name: str
    labels: tuple[str, ...]
    family: str
    width: int = number(768, least=1, most=MAX_WIDTH)
    depth: int = number(12, least=1, most=MAX_DEPTH)
    heads: int = number(12, least=1)
    frames: int = number(1024, least=1, most=MAX_FRAMES)
    mels: int = number(128, least=1, most=MAX_MELS)
    patch: tuple[int, int] = (PATCH, PATCH)
    stride: tuple[int, int] = (16, 16)
    num_prefix_tokens: int = number(2, least=0, most=MAX_PREFIX_TOKENS)
    frequency_major: bool = True
    norm_first: bool = True
    norm_after_embedding: bool = False
    pool: str = one_of("prefix", "patches", "normalised-patches")
    learned_positions: bool = True
    positions_kept: str = one_of("middle", "first")
    eps: float = number(1e-6, least=0)
    head_eps: float = number(1e-6, least=0)
    head_norm: str = one_of("layer", "batch")
    activation: str = one_of("sigmoid", "softmax")
    metric: str = one_of("mAP", "accuracy")
    front_end: str = "kaldi"
    sample_rate: int = number(16_000, least=1_000, most=384_000)
    mean: float = AUDIOSET_MEAN
    std: float = number(AUDIOSET_STD, above=0)
    std_factor: float = number(2.0, above=0)
    mel_scale: tuple[float, ...] = ()
    mel_shift: tuple[float, ...] = ()
    padding: str = one_of("minimum", "zero")
    trained_range: TrainedRange | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        for key in ("labels", "mel_scale", "mel_shift", "patch"):
            if isinstance(getattr(self, key), list):
                object.__setattr__(self, key, tuple(getattr(self, key)))
        patch: object = self.patch
        if has_type(patch, tuple[int, int]):
            object.__setattr__(self, "stride", stride_pair(self.stride, self.patch))
        check_values(self)
        if not self.labels:
            raise SpectrimError("a model needs at least one label.")
        if self.width % self.heads:
            raise SpectrimError(f"width {self.width} is not divisible by {self.heads} heads.")
        if self.has_class_token and not self.num_prefix_tokens:
            raise SpectrimError("num_prefix_tokens is 0, but pool is 'prefix'. Use pool 'patches'.")
        for key in ("mel_scale", "mel_shift"):
            values = getattr(self, key)
            if len(values) not in (0, self.mels) or not all(map(math.isfinite, values)):
                raise SpectrimError(
                    f"{key} has {len(values)} numbers; expected {self.mels}, finite."
                )
        if self.sample_rate != self.audio.sample_rate:
            raise SpectrimError(
                f"sample_rate is {self.sample_rate}, but the front end {self.front_end!r} takes "
                f"{self.audio.sample_rate} Hz. Set sample_rate to {self.audio.sample_rate}."
            )
        _ = self.grid  # raises where no patch fits

    @property
    def grid(self) -> PatchGrid:
        """The grid of patches."""
        return PatchGrid(self.frames, self.mels, self.stride, self.frequency_major, self.patch)

    @property
    def audio(self) -> FrontEnd:
        """The front end: lengths in frames, samples and seconds."""
        return front_end(self.front_end)

    @property
    def window_samples(self) -> int:
        """Samples of the longest clip that the model takes at once."""
        return self.audio.num_samples(self.frames)

    @property
    def window_seconds(self) -> float:
        """Seconds of the longest clip that the model takes at once."""
        return self.window_samples / self.sample_rate

    @property
    def seconds_to_read(self) -> float:
        """Seconds to decode of a clip: the window and the edge of the resampler."""
        return seconds_to_read(self.window_samples, self.sample_rate)

    @property
    def has_class_token(self) -> bool:
        """Whether the head reads prefix tokens (AST) rather than patches (AudioMAE)."""
        return self.pool == "prefix"

    @property
    def has_last_norm(self) -> bool:
        """Whether a LayerNorm follows the last block; a post-norm block ends in its own."""
        return self.norm_first and self.pool != "patches"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        if self.trained_range is not None:
            data["trained_range"] = self.trained_range.to_dict()
        # Earlier versions refuse keys that they do not know.
        implied = _implied_positions_kept(data)
        new = {field.name: field.default for field in fields(self) if field.name in NEW_KEYS}
        for key, default in (new | {"positions_kept": implied}).items():
            if getattr(self, key) == default:
                del data[key]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Read what `to_dict` wrote; unknown or missing keys are errors that name them."""
        if not isinstance(data, Mapping):
            raise SpectrimError(f"model is {data!r}; expected keys and values.")
        data = _with_current_keys(data)
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise SpectrimError(f"unknown model key {key!r}.{nearest(key, known)}")
        for key in ("name", "labels"):
            if key not in data:
                raise SpectrimError(f"the model's config lacks the key {key!r}.")
        if data.get("trained_range") is not None:
            data["trained_range"] = TrainedRange.from_dict(data["trained_range"])
        return cls(**data)


def _with_current_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys and values of Spectrim 0.1: `specials`, pool "specials", no family."""
    data = dict(data)
    if "specials" in data:
        data["num_prefix_tokens"] = data.pop("specials")
    if data.get("pool") == "specials":
        data["pool"] = "prefix"
    if "family" not in data:  # 0.1 had two families, which the pooling tells apart
        data["family"] = "ast" if data.get("pool", "prefix") == "prefix" else "audiomae"
    if "positions_kept" not in data:
        data["positions_kept"] = _implied_positions_kept(data)
    return data


def _implied_positions_kept(data: Mapping[str, Any]) -> str:
    """The value of `positions_kept` in a file that has no such key: AST's or AudioMAE's."""
    return "middle" if data.get("frequency_major", True) else "first"


def stride_pair(stride: Any, patch: tuple[int, int] = (PATCH, PATCH)) -> tuple[int, int]:
    """An integer or (frequency, time) to (frequency, time), at most the size of a patch."""
    pair = tuple(stride) if isinstance(stride, (list, tuple)) else (stride, stride)
    if not has_type(pair, tuple[int, int]) or not all(
        1 <= s <= size for s, size in zip(pair, patch, strict=True)
    ):
        raise SpectrimError(
            f"a stride of {stride!r}; expected 1 to {min(patch)}, or (frequency, time) of at most "
            f"{patch}."
        )
    return pair


def activation_of(classes: int) -> dict[str, Any]:
    """Assumed activation and metric of a file that stores neither, from its number of classes.

    Sigmoid and mAP for AudioSet's 527 classes and for one class, whose softmax is always 1;
    otherwise softmax and accuracy.
    """
    if classes in (1, AUDIOSET_CLASSES):
        return {"activation": "sigmoid", "metric": "mAP"}
    return {"activation": "softmax", "metric": "accuracy"}


def with_overrides(config: ModelConfig, overrides: Mapping[str, Any]) -> ModelConfig:
    """`config` with the values that are not None; the metric follows the activation."""
    given = {key: value for key, value in overrides.items() if value is not None}
    if "activation" in given and "metric" not in given:
        given["metric"] = "mAP" if given["activation"] == "sigmoid" else "accuracy"
    return replace(config, **given)


def label_notes(labels: tuple[str, ...]) -> list[str]:
    """Notes on names of classes that manifests and results cannot tell apart or cannot hold."""
    notes = []
    if repeated := duplicates(labels):
        notes.append(
            f"several classes have the name {shortened(repeated)}. Results by name do not tell "
            "them apart; pass other names with labels=."
        )
    if split := [label for label in labels if LABEL_SEPARATOR in label]:
        notes.append(
            f"the class name {shortened(split)} contains {LABEL_SEPARATOR!r}, which separates "
            "labels in a manifest, so no manifest can hold it; pass other names with labels=."
        )
    return notes
