"""Load options, and a loaded model with the assumptions made about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import NO_CLASSES, ModelConfig, label_notes
from ..transformer import SpectrogramTransformer
from .checkpoint import Labels


@dataclass(frozen=True)
class LoadOptions:
    """Settings that a file may not store, see `load`; None: the file's, or what is assumed."""

    frames: int | None = None
    stride: int | tuple[int, int] | None = None
    mean: float | None = None
    std: float | None = None
    padding: str | None = None
    labels: Labels | None = None
    activation: str | None = None
    metric: str | None = None
    heads: int | None = None
    pool: str | None = None

    def overrides(self) -> dict[str, Any]:
        """The values that replace those of a config once it is read."""
        names = ("frames", "mean", "std", "padding", "activation", "metric")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class LoadedModel:
    """A model, and how it differs from its source.

    Attributes:
        model: in eval mode, with its load options applied.
        stored: the config as the source describes it, before load options replace values.
        assumed: load option to the value assumed, as text: neither the file stores it nor does
            the user pass it. The key "head" means that the head is untrained.
        where: the source, for messages.
        remarks: on what the source holds and the model does not use.
    """

    model: SpectrogramTransformer
    stored: ModelConfig
    assumed: dict[str, str]
    where: str
    remarks: tuple[str, ...] = ()

    @property
    def has_fresh_head(self) -> bool:
        """Whether the source has no head; the model's head is then untrained."""
        return "head" in self.assumed

    def notes(self) -> list[str]:
        """Notes for the user about what was assumed."""
        values = {key: text for key, text in self.assumed.items() if key != "head"}
        notes = list(self.remarks)
        if self.has_fresh_head:
            notes.append(
                f"{self.where} has no head; {self.assumed['head']} is created. Its probabilities "
                "mean nothing until you train it."
            )
        if values:
            options = ", ".join(f"{key}=" for key in values)
            notes.append(
                f"{self.where} does not store every setting; assumed: "
                f"{', '.join(values.values())}. If one is wrong, pass {options}."
            )
        notes += [f"{self.where}: {text}" for text in label_notes(self.model.config.labels)]
        config = self.model.config
        is_detector = len(config.labels) == 1 and config.labels != (NO_CLASSES,)
        if is_detector and config.activation == "softmax":
            notes.append(
                f"{self.where} has one class, whose softmax probability is always 1. Pass "
                "activation='sigmoid' for a detector of this class."
            )
        return notes
