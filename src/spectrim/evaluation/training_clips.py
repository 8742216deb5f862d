"""Whether clips may be those that a model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..data.manifest import Manifest, read_data

RECIPE = "recipe.yaml"  # of a training run; the model is in a folder inside it
TRAINING_NAMES = ("train", "training", "dev", "development")


def training_clips(model: str, manifest: Manifest) -> str | None:
    """What says that some of the clips were trained on, as a sentence; None if nothing does.

    The model's own training recipe, the splits of the manifest, and the names of folders count.

    Args:
        model: name that the model was loaded by.
    """
    total = len(manifest.clips)
    if (trained := _clips_of_recipe(model)) is not None:
        same = sum(_key(clip.path) in trained for clip in manifest.clips)
        return f"{same} of {total} clips are training clips of {model}" if same else None
    splits = [clip.split for clip in manifest.clips if (clip.split or "") in TRAINING_NAMES]
    if splits:
        return f"{len(splits)} of {total} clips are of split {splits[0]!r}"
    for clip in manifest.clips:
        names = [name for name in clip.path.parts[:-1] if name.lower() in TRAINING_NAMES]
        if names and clip.split is None:
            return f"clips lie in a folder called {names[-1]!r}"
    return None


def _clips_of_recipe(model: str) -> set[str] | None:
    """Files that a run of `spectrim train` trained the model on; None if they are not known."""
    import yaml

    for folder in (Path(model), Path(model).parent):
        try:
            text = (folder / RECIPE).read_text(encoding="utf-8")
            data = yaml.safe_load(text)["data"]
            sources = data["manifest"] if isinstance(data["manifest"], list) else [data["manifest"]]
            return {
                _key(clip.path)
                for source in sources
                for clip in read_data(source).clips
                if _is_trained_on(clip, data)
            }
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, SpectrimError):
            continue  # no recipe, another file of that name, or the manifest has moved
    return None


def _is_trained_on(clip: Any, data: dict[str, Any]) -> bool:
    if data.get("test_fold") is not None:
        return clip.fold not in (data["test_fold"], data.get("valid_fold"))
    return clip.split in (None, data.get("train_split", "train"))


def _key(path: Path) -> str:
    return str(path.resolve())
