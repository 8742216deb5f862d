"""Folders for tests of integrations."""

from __future__ import annotations

from pathlib import Path

from spectrim.integrations.transformers import to_transformers
from spectrim.models.transformer import SpectrogramTransformer


def written(model: SpectrogramTransformer, folder: Path) -> Path:
    """A folder of transformers with a model and its feature extractor."""
    for part in to_transformers(model):
        part.save_pretrained(folder)
    return folder
