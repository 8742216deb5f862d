"""Pruned models as models of Hugging Face transformers.

Importing this module registers config, model and feature extractor with the Auto classes. After
that, `AutoModelForAudioClassification` and `AutoModel`, `pipeline("audio-classification")`,
`Trainer`, `save_pretrained` and `push_to_hub` work with folders of pruned models.
"""

from __future__ import annotations

from ...common.errors import missing_package

try:
    from transformers import (
        AutoConfig,
        AutoFeatureExtractor,
        AutoModel,
        AutoModelForAudioClassification,
    )
except ImportError as error:
    raise missing_package(__name__, "transformers", "transformers") from error

from .configuration import SpectrimConfig
from .conversion import quiet, to_ast, to_transformers
from .feature_extraction import SpectrimFeatureExtractor
from .modeling import SpectrimForAudioClassification, SpectrimModel
from .schedule import KeepRateSchedule

__all__ = [
    "KeepRateSchedule",
    "SpectrimConfig",
    "SpectrimFeatureExtractor",
    "SpectrimForAudioClassification",
    "SpectrimModel",
    "quiet",
    "to_ast",
    "to_transformers",
]

AutoConfig.register(SpectrimConfig.model_type, SpectrimConfig, exist_ok=True)
AutoModel.register(SpectrimConfig, SpectrimModel, exist_ok=True)
AutoModelForAudioClassification.register(
    SpectrimConfig, SpectrimForAudioClassification, exist_ok=True
)
AutoFeatureExtractor.register(SpectrimConfig, SpectrimFeatureExtractor, exist_ok=True)
