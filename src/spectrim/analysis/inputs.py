"""Inputs of an analysis: manifests, short names, and which model fits which data."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError, SpectrimNotice, nearest
from ..common.text import shortened
from ..data.builtin import sample_pack
from ..data.manifest import Manifest, read_data
from ..models.labels import audioset
from ..models.transformer import SpectrogramTransformer

SAMPLE_PACK = "sample-pack"
FAMILY_NAMES = {"ast": "AST", "audiomae": "AudioMAE"}  # as the paper and result rows call them
NAMED_LABELS = 3  # unknown labels that a note names


def manifests(
    paths: Sequence[Path], split: str | None = None, fold: str | None = None
) -> dict[str, Manifest]:
    """Manifests or folders by name; without a path, the built-in sample pack.

    Args:
        split: rows of this split only; None: "test" where there is one; "all": every row.
        fold: rows of this fold only, in the manifests that have folds.

    Raises:
        SpectrimError: as `read_data` and `Manifest.select`; a fold where no manifest has any.
    """
    selected: dict[str, Manifest] = {}
    files = list(dict.fromkeys(paths)) or [sample_pack()]
    names = [SAMPLE_PACK] if not paths else short_names([str(path) for path in files])
    for name, path in zip(names, files, strict=True):
        manifest = read_data(path)
        chosen_split = split
        if split is None and any(clip.split == "test" for clip in manifest.clips):
            chosen_split = "test"
            text = f"{path}: using the rows of split 'test'. Pass --split all to use every row."
            warnings.warn(SpectrimNotice(text), stacklevel=2)
        has_folds = any(clip.fold is not None for clip in manifest.clips)
        has_splits = any(clip.split is not None for clip in manifest.clips)
        is_alone = len(files) == 1  # another manifest may have the column
        selected[name] = manifest.select(
            None if chosen_split == "all" or not (has_splits or is_alone) else chosen_split,
            fold if has_folds or is_alone else None,
        )
    for key, value in (("split", split), ("fold", fold)):
        clips = [clip for manifest in selected.values() for clip in manifest.clips]
        if value not in (None, "all") and all(getattr(clip, key) is None for clip in clips):
            raise SpectrimError(f"no manifest has a column {key}, so {value!r} selects nothing.")
    return selected


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each path, without suffix of a manifest; where two agree, more parts.

    Such as "esc10/last" and "digits/last" of runs/esc10/last and runs/digits/last.
    """
    shortest = []
    for index, name in enumerate(names):
        others = [*names[:index], *names[index + 1 :]]
        lengths = range(1, len(Path(name).parts) + 1)
        tails = (_tail(name, n) for n in lengths
                 if all(_tail(name, n) != _tail(other, n) for other in others))  # fmt: skip
        shortest.append(next(tails, name))
    return shortest


def _tail(name: str, length: int) -> str:
    path = Path(name)
    if name.endswith((".csv", ".json")):
        path = path.with_suffix("")
    return "/".join(path.parts[-length:]) or name


def family_name(model: SpectrogramTransformer) -> str:
    """The family of a model as people write it, such as "AST"."""
    return FAMILY_NAMES.get(model.config.family, model.config.family)


def knows(model: SpectrogramTransformer, manifest: Manifest) -> bool:
    """Whether every label of a manifest is a class of the model, or AudioSet's id of one."""
    return not unknown_labels(model, manifest)


def unknown_labels(model: SpectrogramTransformer, manifest: Manifest) -> list[str]:
    """The labels of a manifest, sorted, that are neither classes of the model nor their ids."""
    aliases, classes = dict(audioset()), set(model.labels)
    return [
        label
        for label in sorted(manifest.labels())
        if label not in classes and aliases.get(label) not in classes
    ]


def excluded_pairs(
    texts: Sequence[str], models: Collection[str], data: Collection[str]
) -> frozenset[tuple[str, str]]:
    """The names of models and data that "MODEL=DATA" texts exclude.

    Raises:
        SpectrimError: a text without "=", or an unknown name.
    """
    pairs = set()
    for text in texts:
        model, equals, name = text.rpartition("=")
        if not equals:
            raise SpectrimError(f"--exclude {text!r}; expected MODEL=DATA.")
        for role, given, known in (("model", model, models), ("data set", name, data)):
            if given not in known:
                raise SpectrimError(
                    f"--exclude {text!r}: no {role} is called {given!r}.{nearest(given, known)}"
                )
        pairs.add((model, name))
    return frozenset(pairs)


def fitting_models(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    excluded: Collection[tuple[str, str]] = (),
) -> dict[str, list[str]]:
    """For each data set, the models that know its labels and are not excluded from it."""
    return {
        set_name: [
            name
            for name, model in models.items()
            if (name, set_name) not in excluded and knows(model, manifest)
        ]
        for set_name, manifest in data.items()
    }


def skipped(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    excluded: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """The pairs of model and data that are not run, with the first labels that are unknown.

    Excluded pairs whose labels are known have no unknown labels.
    """
    pairs = []
    for set_name, manifest in data.items():
        for name, model in models.items():
            labels = unknown_labels(model, manifest)
            if labels or (name, set_name) in excluded:
                pairs.append(
                    {"model": name, "data": set_name, "unknown_labels": labels[:NAMED_LABELS],
                     "unknown": len(labels)}
                )  # fmt: skip
    return pairs


def not_run(pair: Mapping[str, Any]) -> str:
    """A note about a pair that `skipped` names."""
    if not pair["unknown"]:
        return f"{pair['model']} is not run on {pair['data']}, as --exclude asks."
    names = shortened(pair["unknown_labels"], NAMED_LABELS, pair["unknown"])
    return f"{pair['model']} is not run on {pair['data']}, whose labels it does not know: {names}."
