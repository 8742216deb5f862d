"""The config of a model: plain values, never code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

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


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a model: everything except its weights and its plan.

    Attributes:
        name: preset or source, for messages and result rows.
        family: "ast" or "audiomae"; the published results that the model is compared with.
        width, depth, heads: of the transformer; the MLP is 4 times as wide.
        frames, mels, stride: of the features and patches; stride is (frequency, time).
        num_prefix_tokens: prefix tokens in front; 2 for AST (class, distillation), 1 for AudioMAE.
        frequency_major: order of patches, see `PatchGrid`.
        pool: "prefix" (AST: LayerNorm, mean of the prefix tokens) or "patches" (AudioMAE:
            mean of the patches).
        learned_positions: False (AudioMAE): fixed 2-D sine and cosine.
        eps, head_eps: of the LayerNorms in the blocks, and of the one before the head.
        labels: names of the classes, in the order of the logits.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy".
        mean, std: features are normalised as (x - mean) / (2 * std).
        padding: "minimum" or "zero": value of the features after the end of a clip.
        trained_range: the plans that the model was trained for by elastic training; None: it was
            not.
    """

    name: str
    labels: tuple[str, ...]
    family: str
    width: int = number(768, least=1, most=MAX_WIDTH)
    depth: int = number(12, least=1, most=MAX_DEPTH)
    heads: int = number(12, least=1)
    frames: int = number(1024, least=PATCH, most=MAX_FRAMES)
    mels: int = number(128, least=PATCH, most=MAX_MELS)
    stride: tuple[int, int] = (16, 16)
    num_prefix_tokens: int = number(2, least=0, most=MAX_PREFIX_TOKENS)
    frequency_major: bool = True
    pool: str = one_of("prefix", "patches")
    learned_positions: bool = True
    eps: float = number(1e-6, least=0)
    head_eps: float = number(1e-6, least=0)
    activation: str = one_of("sigmoid", "softmax")
    metric: str = one_of("mAP", "accuracy")
    mean: float = AUDIOSET_MEAN
    std: float = number(AUDIOSET_STD, above=0)
    padding: str = one_of("minimum", "zero")
    trained_range: TrainedRange | None = None

    def __post_init__(self) -> None:
        labels: object = self.labels
        if isinstance(labels, list):
            object.__setattr__(self, "labels", tuple(labels))
        object.__setattr__(self, "stride", stride_pair(self.stride))
        check_values(self)
        if not self.labels:
            raise SpectrimError("a model needs at least one label.")
        if self.width % self.heads:
            raise SpectrimError(f"width {self.width} is not divisible by {self.heads} heads.")
        if self.has_class_token and not self.num_prefix_tokens:
            raise SpectrimError("num_prefix_tokens is 0, but pool is 'prefix'. Use pool 'patches'.")
        _ = self.grid  # raises where no patch fits

    @property
    def grid(self) -> PatchGrid:
        """The grid of patches."""
        return PatchGrid(self.frames, self.mels, self.stride, self.frequency_major)

    @property
    def has_class_token(self) -> bool:
        """Whether the head reads prefix tokens (AST) rather than patches (AudioMAE)."""
        return self.pool == "prefix"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self) | {"labels": list(self.labels), "stride": list(self.stride)}
        # Left out without a value: earlier versions refuse keys that they do not know.
        del data["trained_range"]
        if self.trained_range is not None:
            data["trained_range"] = self.trained_range.to_dict()
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
    return data


def stride_pair(stride: Any) -> tuple[int, int]:
    """An integer or (frequency, time) to (frequency, time)."""
    pair = tuple(stride) if isinstance(stride, (list, tuple)) else (stride, stride)
    if not has_type(pair, tuple[int, int]) or not all(1 <= s <= PATCH for s in pair):
        raise SpectrimError(f"a stride of {stride!r}; expected 1 to 16, or (frequency, time).")
    return pair


SIZES: dict[str, dict[str, int]] = {
    "base": {"width": 768, "depth": 12, "heads": 12},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "tiny": {"width": 128, "depth": 12, "heads": 2},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "ast": {
        "num_prefix_tokens": 2,
        "frequency_major": True,
        "pool": "prefix",
        "learned_positions": True,
    },
    "audiomae": {
        "num_prefix_tokens": 1,
        "frequency_major": False,
        "pool": "patches",
        "learned_positions": False,
    },
}
PRESETS = tuple(f"{family}-{size}" for family in FAMILIES for size in SIZES)


def preset(name: str, labels: tuple[str, ...], **changes: Any) -> ModelConfig:
    """The config of "ast-base", "ast-small", "ast-tiny", "audiomae-base", ...

    Raises:
        SpectrimError: no such preset (the nearest are offered) or a value out of range.
    """
    if name not in PRESETS:
        raise SpectrimError(f"no preset is called {name!r}.{nearest(name, PRESETS)}")
    family, size = name.split("-")
    return from_family(family, name=name, labels=labels, **(SIZES[size] | changes))


def from_family(family: str, **values: Any) -> ModelConfig:
    """A config with the settings that all models of a family ("ast", "audiomae") share."""
    return ModelConfig(family=family, **(FAMILIES[family] | values))


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
