"""The default choice of the clips that a sweep evaluates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..common.errors import SpectrimNotice
from ..data.manifest import Manifest


def clips_to_evaluate(
    manifest: Manifest,
    split: str | None = None,
    fold: str | None = None,
    default: Sequence[str] = ("test",),
) -> Manifest:
    """Rows of a split and a fold; a note reports a default choice.

    Args:
        split: a split's name, "all" for all rows, or None: the first of `default` that the
            manifest has, else all rows.
        fold: a fold's name; None: all.
        default: names of splits.
    """
    splits = sorted({clip.split for clip in manifest.clips if clip.split})
    is_requested = split is not None
    split = split or next((name for name in default if name in splits), None)
    if split is not None and not is_requested:
        _note(f"{manifest.source}: using split {split!r} only; --split all uses all rows.")
    elif split is None and splits:
        _note(
            f"{manifest.source}: no split is called {default[0]!r}, so all rows are used "
            f"({', '.join(splits)}), perhaps also those that the model was trained on. Choose one "
            "with --split."
        )
    return manifest.select(None if split == "all" else split, fold)


def without_unknown_labels(
    manifest: Manifest, name: str, labels: list[str], reference: str
) -> Manifest:
    """The sample pack for a model; without labels, and with a note, if the model has other classes.

    Args:
        name, labels: of the model.
        reference: what the note says the model is compared with.
    """
    if set(labels) >= manifest.labels():
        return manifest
    _note(
        f"{name} does not know the sample pack's digits, so it is compared with {reference} only. "
        "Give your own clips with --data."
    )
    return manifest.unlabelled()


def _note(text: str) -> None:
    warnings.warn(SpectrimNotice(text), stacklevel=3)
