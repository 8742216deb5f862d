"""A state dict from which each key is taken once, so that nothing is missed or left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.errors import SpectrimError
from ..config import AUDIOSET_MEAN, AUDIOSET_STD, ModelConfig, activation_of

State = dict[str, Tensor]

AUDIOSET_SOUND = {
    "mean": f"AudioSet's mean {AUDIOSET_MEAN}",
    "std": f"AudioSet's std {AUDIOSET_STD}",
    "padding": "padding with zero before normalising",
}
"""What a file that does not say how it hears is taken to want, by the override's name."""


class Arrival(NamedTuple):
    """What a door gives.

    Attributes:
        config: what the file is, as far as it says.
        state: our names to tensors.
        assumed: what the file does not say, as a clause, under the override that tells it.
    """

    config: ModelConfig
    state: State
    assumed: dict[str, str]


class Weights:
    """A state dict on its way in.

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
        """All names, those already taken too."""
        return self._all

    def take(self, name: str, *shape: int | None, floating: bool = True) -> Tensor:
        """A tensor whose shape is as said (None: any length).

        Raises:
            SpectrimError: it is missing, or is not of that shape; the message names both.
        """
        if name not in self._left:
            raise SpectrimError(
                f"{self.where}: the key {name!r} is missing. The file is not whole, or not "
                "of the format that its other keys show."
            )
        value = self._left.pop(name)
        if not isinstance(value, Tensor) or value.is_floating_point() != floating:
            what = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise SpectrimError(
                f"{self.where}: the key {name!r} holds {what}; wanted a tensor of "
                f"{'floating point' if floating else 'whole'} numbers."
            )
        found = tuple(value.shape)
        if len(found) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, found, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise SpectrimError(
                f"{self.where}: the key {name!r} has shape {found}; wanted ({wanted})."
            )
        return value

    def layer(self, ours: str, theirs: str, *shape: int | None) -> State:
        """Weight (of `shape`) and bias (as long as its first axis) of a layer, renamed."""
        weight = self.take(f"{theirs}.weight", *shape)
        bias = self.take(f"{theirs}.bias", len(weight))
        return {f"{ours}.weight": weight, f"{ours}.bias": bias}

    def drop(self, *beginnings: str) -> None:
        """Leave out what begins so: known to be in such files, and of no use here."""
        self._left = {k: v for k, v in self._left.items() if not k.startswith(beginnings)}

    def close(self) -> None:
        """Refuse whatever nobody took."""
        if self._left:
            some = ", ".join(repr(name) for name in list(self._left)[:3])
            more = f" and {len(self._left) - 3} more" if len(self._left) > 3 else ""
            raise SpectrimError(
                f"{self.where}: unexpected key {some}{more}. This is not a model that Spectrim "
                "knows; if these weights do not matter, save the file without them."
            )


def assumed_labels(names: tuple[str, ...]) -> dict[str, str]:
    """For `Arrival.assumed`: names that were made up, and what their number suggests."""
    return {
        "labels": f"{len(names)} labels ({names[0]!r}, ...)",
        "activation": activation_of(len(names))["activation"],
    }


FRESH_HEAD = "a fresh, untrained one"


def fresh_head(width: int, classes: int) -> State:
    """An untrained LayerNorm and Linear, for a file that brings none."""
    weight = torch.empty(classes, width)
    return {
        "head_norm.weight": torch.ones(width),
        "head_norm.bias": torch.zeros(width),
        "head.weight": torch.nn.init.trunc_normal_(weight, std=2e-5),
        "head.bias": torch.zeros(classes),
    }
