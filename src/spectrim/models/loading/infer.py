"""Inferring the patch grid, class names and normalisation that a checkpoint does not store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...audio.constants import MELS, SAMPLE_RATE
from ...common.errors import SpectrimError
from ...common.values import from_mapping, has_type, number
from ...pruning.patches import PATCH, PatchGrid
from ..build import default_labels
from ..config import AUDIOSET_CLASSES, AUDIOSET_MEAN, AUDIOSET_STD, activation_of, stride_pair
from .checkpoint import Labels

KNOWN_COUNTS = {
    1212: (10, 1024), 600: (10, 512), 144: (10, 128),
    512: (16, 1024), 256: (16, 512), 64: (16, 128),
}  # fmt: skip
"""Number of patches to (stride, frames) of published models."""

ASSUMED_NORMALISATION = {
    "mean": f"AudioSet's mean {AUDIOSET_MEAN}",
    "std": f"AudioSet's std {AUDIOSET_STD}",
    "padding": "padding with zero before normalising",
}
"""Assumed values, by load option, for a file that does not store its normalisation."""


@dataclass(frozen=True)
class FeatureExtractor:
    """What is read from preprocessor_config.json; the defaults are transformers'."""

    sampling_rate: int = SAMPLE_RATE
    num_mel_bins: int = MELS
    do_normalize: bool = True
    mean: float = AUDIOSET_MEAN
    std: float = number(AUDIOSET_STD, above=0)


def infer_grid(patches: int, stride: Any, where: str, frames: int | None = None) -> PatchGrid:
    """Find stride and length from the number of patches.

    Args:
        patches: rows of the position embedding without prefix tokens.
        stride: as the user passes it, or None: then the number must be a known one.
        frames: as the file's config states it, or None.

    Returns:
        A grid with that many patches, in any order. Its length is the config's, that of the
        known number, or else the shortest with as many columns.

    Raises:
        SpectrimError: the number is not a known one, or does not divide into whole columns.
    """
    known = KNOWN_COUNTS.get(patches)
    if stride is None and known is None:
        counts = ", ".join(f"{count} at {stride}" for count, (stride, _) in KNOWN_COUNTS.items())
        raise SpectrimError(
            f"{where}: the stride cannot be inferred from {patches} patches (known: {counts}). "
            "Pass stride= (16, 10 or (frequency, time))."
        )
    pair = stride_pair(known[0] if stride is None and known else stride)
    rows = (MELS - PATCH) // pair[0] + 1
    if patches % rows:
        raise SpectrimError(
            f"{where}: {patches} patches do not divide into rows of {rows}, as a stride of "
            f"{pair} requires. Pass another stride=."
        )
    columns = patches // rows
    candidates = [frames, known[1] if known else None, (columns - 1) * pair[1] + PATCH]
    for length in filter(None, candidates):
        if length >= PATCH and (grid := PatchGrid(length, MELS, pair)).count == patches:
            return grid
    raise SpectrimError(f"{where}: {patches} patches; a model needs at least one column of them.")


def labels_for(
    labels: Labels | None, classes: int | None, where: str, stored: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names of the classes.

    Args:
        labels: names or a number, as the user passes them; None: the file's.
        classes: of the file's head; None: it has no head.
        stored: names that the file itself stores.

    Raises:
        SpectrimError: the head has another number of classes.
    """
    is_count = has_type(labels, int)
    if labels is not None and not is_count and not has_type(labels, list[str] | tuple[str, ...]):
        raise SpectrimError(f"labels is {labels!r}; expected a list of names or a number.")
    count = labels if isinstance(labels, int) else len(labels) if labels is not None else None
    if classes is not None and count not in (None, classes):
        raise SpectrimError(
            f"{where}: {count} labels for a head of {classes} classes. Pass {classes} names or "
            "none; a number is for files without a head."
        )
    if labels is not None and not isinstance(labels, int):
        return tuple(labels)
    if stored is not None:
        return tuple(stored)
    return default_labels(next(n for n in (count, classes, AUDIOSET_CLASSES) if n is not None))


def stored_labels(
    table: Mapping[Any, Any] | None, classes: int | None, where: str
) -> tuple[str, ...] | None:
    """Label names of `id2label` in the order of the logits; None without a table or a head.

    Raises:
        SpectrimError: the table has another number of classes, or a name that is no text.
    """
    if classes is None or table is None:
        return None
    named = {str(index): name for index, name in table.items()}
    if set(named) != {str(index) for index in range(classes)}:
        raise SpectrimError(
            f"{where}: id2label in config.json has {len(named)} labels; the head has {classes} "
            f"classes, so it needs the keys 0 to {classes - 1}."
        )
    for index, name in named.items():
        if not isinstance(name, str):
            raise SpectrimError(
                f"{where}: id2label in config.json names class {index} {name!r}; expected a text."
            )
    return tuple(named[str(index)] for index in range(classes))


def check_supported(
    settings: Any,
    supported: Mapping[str, tuple[Any, ...]],
    where: str,
    location: str = "in config.json",
) -> None:
    """Refuse values of a config that Spectrim's transformer or front ends do not support.

    Args:
        settings: an object with the values as attributes.
        supported: key to the values that are accepted; the first is named in the message.
    """
    for key, values in supported.items():
        value = getattr(settings, key)
        if value not in values:
            raise SpectrimError(
                f"{where}: {key} is {value!r} {location}; Spectrim supports {values[0]!r} only."
            )


def assumed_labels(names: tuple[str, ...]) -> dict[str, str]:
    """For `Converted.assumed`: invented names, and the activation that their number suggests."""
    return {
        "labels": f"{len(names)} labels ({names[0]!r}, ...)",
        "activation": activation_of(len(names))["activation"],
    }


def normalisation_of(
    preprocessor: Mapping[str, Any] | None, where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Mean, std and padding from the config of an ASTFeatureExtractor, and what is assumed.

    The extractor normalises as Spectrim does, (x - mean) / (2 * std), after padding with zero.

    Args:
        preprocessor: content of preprocessor_config.json; None: there is none.
        where: the model, for messages.

    Raises:
        SpectrimError: another sample rate or number of mel bins, or numbers that are not finite.
    """
    stored = from_mapping(
        FeatureExtractor, preprocessor or {}, where, "in preprocessor_config.json"
    )
    for key, ours in (("sampling_rate", SAMPLE_RATE), ("num_mel_bins", MELS)):
        if getattr(stored, key) != ours:
            raise SpectrimError(
                f"{where}: {key} is {getattr(stored, key)!r} in preprocessor_config.json; Spectrim "
                f"supports {ours} only."
            )
    if not stored.do_normalize:
        return {"mean": 0.0, "std": 0.5, "padding": "zero"}, {}  # (x - 0) / (2 * 0.5) is x
    values = {"mean": float(stored.mean), "std": float(stored.std), "padding": "zero"}
    return values, dict(ASSUMED_NORMALISATION) if preprocessor is None else {}
