"""Converter for MAEST (arXiv 2309.16418): hub folders with the layout of transformers' AST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...common.errors import SpectrimError
from ...common.values import from_mapping, number
from . import hugging_face
from .checkpoint import Checkpoint, Converted, Support
from .infer import check_supported

NAME = "MAEST"
SUPPORT = (
    Support(
        family="maest",
        models="MAEST 5s, 10s, 20s, 30s",
        sources="hub folders mtg-upf/discogs-maest-*",
        licence="AGPL-3.0 (code), weights: see the card",
        verified="original code at commit a5404c2, transformers",
    ),
)
MELS = 96
MEAN, STD = 2.06755686098554, 1.268292820667291
EXTRACTOR = "MAESTFeatureExtractor"


@dataclass(frozen=True)
class MaestExtractor:
    """Values in preprocessor_config.json; the defaults are those of the published files."""

    sampling_rate: Any = 16_000
    n_fft: Any = 512
    hop_length: Any = 256
    num_mel_bins: Any = MELS
    log_compression: Any = "logC"
    do_normalize: Any = True
    mean: float = MEAN
    std: float = number(STD, above=0)


SUPPORTED: dict[str, tuple[Any, ...]] = {
    "sampling_rate": (16_000,),
    "n_fft": (512,),
    "hop_length": (256,),
    "num_mel_bins": (MELS,),
    "log_compression": ("logC",),
    "do_normalize": (True,),
}


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys are those of transformers' AST, and the features MAEST's."""
    config, extractor = checkpoint.config or {}, checkpoint.preprocessor or {}
    is_maest = extractor.get("feature_extractor_type") == EXTRACTOR
    return hugging_face.fits(checkpoint) and (is_maest or config.get("num_mel_bins") == MELS)


def read(checkpoint: Checkpoint) -> Converted:
    """As AST, with MAEST's features; a style is a label among several."""
    normalisation, assumed = _normalisation(checkpoint.preprocessor, checkpoint.where)
    converted = hugging_face.convert(checkpoint, "maest", MELS, normalisation, assumed)
    if (checkpoint.config or {}).get("problem_type") is not None:
        return converted
    config = replace(converted.config, activation="sigmoid", metric="mAP")
    return replace(converted, config=config)


def _normalisation(
    preprocessor: Mapping[str, Any] | None, where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Mean and std, and what is assumed of a folder without preprocessor_config.json."""
    extractor = (preprocessor or {}).get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise SpectrimError(
            f"{where}: {extractor} with {MELS} mel bins in preprocessor_config.json; Spectrim "
            f"computes {MELS} bins as {EXTRACTOR} does."
        )
    location = "in preprocessor_config.json"
    stored = from_mapping(MaestExtractor, preprocessor or {}, where, location)
    check_supported(stored, SUPPORTED, where, location)
    values = {"mean": stored.mean, "std": stored.std}
    assumed = {"mean": f"MAEST's mean {MEAN:.4f}", "std": f"MAEST's std {STD:.4f}"}
    return values, assumed if preprocessor is None else {}
