"""The manifests of a recipe: reading, splitting, and checking that their files exist."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..audio.channels import check_channel
from ..audio.decode import sound_name
from ..common.errors import SpectrimError, SpectrimNotice
from ..common.paths import is_file, user_path
from ..data.manifest import Manifest, read_data
from ..data.overlap import overlap_note, overlapping
from ..data.splits import Splits, split
from .recipe import DataPart, Recipe

SHOWN = 5


def splits_of(data: DataPart, seed: int) -> list[Splits]:
    """Read and split every manifest of a recipe; notices name the rows that are left out.

    Raises:
        SpectrimError: a manifest cannot be read, a fold is unknown, or nothing is left to train on.
    """
    names = _listed(data.manifest)
    if not names or not all(names):
        raise SpectrimError("data.manifest is empty; expected a file or a folder of audio.")
    divided = []
    for name in names:
        manifest = _read(name, data)
        folds = any(clip.fold for clip in manifest.clips)
        if data.test_fold is not None and not folds and len(names) == 1:
            raise SpectrimError(
                f"{name}: data.test_fold is {data.test_fold}, and the manifest has no column "
                "'fold'. Set data.test_fold=null."
            )
        divided.append(
            split(
                manifest,
                train_split=data.train_split,
                valid_split=data.valid_split,
                test_split=data.test_split,
                # Among several manifests only those with folds are divided by them.
                test_fold=data.test_fold if folds or len(names) == 1 else None,
                valid_fold=data.valid_fold if folds or len(names) == 1 else None,
                holdout=data.holdout,
                seed=seed,
            )
        )
        used = {id(clip) for clip in divided[-1].all()}
        others = [clip for clip in manifest.clips if id(clip) not in used]
        if others:
            unused = ", ".join(sorted({str(clip.split) for clip in others}))
            text = (
                f"{name}: {len(others)} clips of split {unused} are not used; data.train_split, "
                "data.valid_split and data.test_split name the splits in use."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=2)
    for role in ("valid", "test"):
        for name in _listed(getattr(data, f"{role}_manifest")):
            whole = _read(name, data)
            none = replace(whole, clips=())
            divided.append(replace(Splits(none, none, none), **{role: whole}))
    undivided = not any(splits.valid.clips or splits.test.clips for splits in divided)
    if (
        len(names) > 1
        and undivided
        and not any(c.split or c.fold for s in divided for c in s.all())
    ):
        text = (
            f"every row of {' and '.join(map(str, names))} is trained on, as none has a split or "
            "fold. Name the files of other rows in data.test_manifest and data.valid_manifest."
        )
        warnings.warn(SpectrimNotice(text), stacklevel=2)
    train = [clip for splits in divided for clip in splits.train.clips]
    for role in ("valid", "test"):
        held_out = [clip for splits in divided for clip in getattr(splits, role).clips]
        if pairs := overlapping(train, held_out):
            warnings.warn(SpectrimNotice(overlap_note(pairs, role)), stacklevel=2)
    return divided


def _read(name: Any, data: DataPart) -> Manifest:
    try:
        channel = check_channel(data.channel)
    except SpectrimError as error:
        raise SpectrimError(f"data.channel is {error}") from error
    return read_data(user_path(str(name))).with_channel(channel)


def _listed(names: Any) -> list[Any]:
    return names if isinstance(names, list) else [] if names is None else [names]


def check_tested(recipe: Recipe, name: str) -> None:
    """Refuse a recipe whose manifests have no test clip.

    Raises:
        SpectrimError: there is none; the message begins with `name`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)  # `resolve` prints them
        divided = splits_of(recipe.data, recipe.seed)
    if not any(splits.test.clips for splits in divided):
        sources = ", ".join(str(splits.test.source) for splits in divided)
        raise SpectrimError(
            f"{name}: {sources} has no test clip (split {recipe.data.test_split!r}, fold "
            f"{recipe.data.test_fold}). Grid cells are evaluated on test clips. Set "
            "data.test_split or data.test_fold."
        )


def absent(data: DataPart) -> list[str]:
    """The manifests of a recipe that do not exist."""
    named = (data.manifest, data.valid_manifest, data.test_manifest)
    names = dict.fromkeys(str(name) for part in named for name in _listed(part))
    return [name for name in names if not Path(name).exists()]


def check_files(manifests: Sequence[Manifest]) -> None:
    """Refuse rows whose file is missing; the message names the first ones.

    Raises:
        SpectrimError: some are missing.
    """
    rows = [(manifest, clip) for manifest in manifests for clip in manifest.clips]
    missing = [(manifest, clip) for manifest, clip in rows if not _is_file(clip.path)]
    if missing:
        named = "; ".join(f"row {c.row}: {sound_name(c.path)}" for _, c in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise SpectrimError(
            f"{missing[0][0].source}: {len(missing)} of {len(rows)} files are missing: {named}"
            f"{more}. Correct the paths (relative ones start at the manifest), or remove the rows."
        )


def _is_file(path: Path) -> bool:
    """Whether a path is a file; False for an address or a path that the system refuses."""
    try:
        return is_file(path)
    except SpectrimError:
        return False
