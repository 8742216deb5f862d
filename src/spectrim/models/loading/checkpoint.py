"""The input of a converter, a checkpoint, and its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ...common.errors import SpectrimError
from ...common.text import shortened
from ...pruning.plan import Plan
from ...pruning.recommendation import Recommendation
from ..config import ModelConfig

State = dict[str, Tensor]
Labels = Sequence[str] | int

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGER = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
FRESH_HEAD = "a fresh, untrained one"
NO_CONVERTER = "Spectrim has no converter for it"


class Weights:
    """A state dict from which each key must be taken exactly once.

    Args:
        state: names to tensors.
        where: the file, for messages.
    """

    def __init__(self, state: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._left = dict(state)
        self._all = tuple(self._left)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, including those already taken."""
        return self._all

    def has(self, *prefixes: str) -> bool:
        """Whether any name starts with one of these prefixes."""
        return any(name.startswith(prefixes) for name in self._all)

    def take(self, name: str, *shape: int | None, floating: bool = True) -> Tensor:
        """Return the tensor `name`, which must have this shape (None: any length).

        Raises:
            SpectrimError: the key is missing, or its tensor has another shape or kind of number.
        """
        value = self.require(name, *shape, floating=floating)
        del self._left[name]
        return value

    def require(self, name: str, *shape: int | None, floating: bool = True) -> Tensor:
        """As `take`, but the key can be taken again."""
        if name not in self._left:
            raise SpectrimError(
                f"{self.where}: the key {name!r} is missing. The file is incomplete, or has "
                "another format than its other keys suggest."
            )
        value = self._left[name]
        is_expected = isinstance(value, Tensor) and (
            value.dtype in FLOATING if floating else value.dtype in INTEGER
        )
        if not is_expected:
            dtype = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise SpectrimError(
                f"{self.where}: the key {name!r} holds {dtype}; expected a tensor of "
                f"{'floating-point numbers of 16 to 64 bits' if floating else 'integers'}."
            )
        sizes = tuple(value.shape)
        if len(sizes) != len(shape) or any(
            expected not in (None, size) for expected, size in zip(shape, sizes, strict=True)
        ):
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise SpectrimError(
                f"{self.where}: the key {name!r} has shape {sizes}; expected ({expected})."
            )
        return value

    def layer(self, ours: str, theirs: str, *shape: int | None) -> State:
        """Take the weight (of `shape`) and bias (as long as its first axis) of a layer, renamed."""
        weight = self.take(f"{theirs}.weight", *shape)
        bias = self.take(f"{theirs}.bias", len(weight))
        return {f"{ours}.weight": weight, f"{ours}.bias": bias}

    def drop(self, *prefixes: str) -> None:
        """Leave out the keys with these prefixes: known leftovers that the model never uses."""
        self._left = {k: v for k, v in self._left.items() if not k.startswith(prefixes)}

    def close(self) -> None:
        """Refuse the file if any key was not taken."""
        if self._left:
            raise SpectrimError(
                f"{self.where}: unexpected key {shortened(self._left)}. Spectrim does not know "
                "this model; if these weights do not matter, save the file without them."
            )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of another project.

    Attributes:
        weights: what the file, or the model in memory, holds.
        config: content of config.json; None where there is none.
        preprocessor: content of preprocessor_config.json; None where there is none.
        stride: (frequency, time) that the user passes; None: the converter finds it.
        labels: class names that the user passes, or their number for a file without a head.
        frames, heads, pool: as the user passes them. Most converters need none of them: frames
            are adapted after the conversion.
    """

    weights: Weights
    config: Mapping[str, Any] | None = None
    preprocessor: Mapping[str, Any] | None = None
    stride: tuple[int, int] | None = None
    labels: Labels | None = None
    frames: int | None = None
    heads: int | None = None
    pool: str | None = None

    @property
    def where(self) -> str:
        """The file, for messages."""
        return self.weights.where


@dataclass(frozen=True)
class Converted:
    """What a converter returns.

    Attributes:
        config: of the model in the file.
        state: Spectrim's names to tensors.
        assumed: what the file does not store: load option to the value assumed, as text for a
            note. The key "head" means that the head is untrained.
        plan, recommendation: of Spectrim's own folders.
        notes: on what the file holds and the model does not use.
    """

    config: ModelConfig
    state: State
    assumed: dict[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    recommendation: Recommendation | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Support:
    """Models that a format covers, for `spectrim models --formats`.

    Attributes:
        family: as `ModelConfig.family`.
        models: names of the models; sources: what is loaded.
        licence: of the published code and weights.
        verified: what the logits and kept patches were compared with.
    """

    family: str
    models: str
    sources: str
    licence: str
    verified: str


class CheckpointFormat(Protocol):
    """A checkpoint format; each is a module, listed in `load.FORMATS`."""

    NAME: str
    """For messages."""

    @property
    def SUPPORT(self) -> tuple[Support, ...]:
        """The models in this format."""

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is of this format, by its keys."""

    def read(self, checkpoint: Checkpoint) -> Converted:
        """Convert a checkpoint to Spectrim's config and names.

        Raises:
            SpectrimError: a key is missing, unexpected or of a wrong shape, or the config
                describes an architecture that Spectrim does not compute.
        """


def unsupported(where: str, model: str) -> SpectrimError:
    """The refusal of a file of a known model that does not load.

    Args:
        where: the file; model: its name, and why it does not load.
    """
    return SpectrimError(f"{where} holds {model}. See docs/prune-your-model.md#backbones.")


def fresh_head(width: int, classes: int) -> State:
    """An untrained LayerNorm and Linear, for a file without a head."""
    weight = torch.empty(classes, width)
    return {
        "head_norm.weight": torch.ones(width),
        "head_norm.bias": torch.zeros(width),
        "head.weight": torch.nn.init.trunc_normal_(weight, std=2e-5),
        "head.bias": torch.zeros(classes),
    }
