"""What an analysis runs on: manifests and models by short names that fit into figures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import SpectrimError, SpectrimNotice
from ..data.builtin import sample_pack
from ..data.manifest import Manifest, read_data

SAMPLE_PACK = "sample-pack"


def manifests(
    paths: Sequence[Path], split: str | None = None, fold: str | None = None
) -> dict[str, Manifest]:
    """Manifests or folders by name; none stands for the built-in sample pack.

    Args:
        split: rows of this split only; None: "test" where there is one; "all": every row.
        fold: rows of this fold only, in the manifests that have folds.

    Raises:
        SpectrimError: as `read_data` and `Manifest.select`; a fold where no manifest has any.
    """
    found: dict[str, Manifest] = {}
    files = list(dict.fromkeys(paths)) or [sample_pack()]
    names = [SAMPLE_PACK] if not paths else short_names([str(path) for path in files])
    for name, path in zip(names, files, strict=True):
        manifest = read_data(path)
        wanted = split
        if split is None and any(clip.split == "test" for clip in manifest.clips):
            wanted = "test"
            text = f"{path}: rows of split 'test' only; --split all takes every row."
            warnings.warn(SpectrimNotice(text), stacklevel=2)
        folds = any(clip.fold is not None for clip in manifest.clips)
        splits = any(clip.split is not None for clip in manifest.clips)
        several = len(files) > 1  # what one manifest lacks, another may have
        found[name] = manifest.select(
            None if wanted == "all" or (several and not splits) else wanted,
            fold if folds or not several else None,
        )
    for key, value in (("split", split), ("fold", fold)):
        clips = [clip for manifest in found.values() for clip in manifest.clips]
        if value not in (None, "all") and all(getattr(clip, key) is None for clip in clips):
            raise SpectrimError(f"no manifest has a column {key}, so {value!r} selects nothing.")
    return found


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each path, without suffix of a manifest; where two agree, more parts.

    Such as "esc10/last" and "digits/last" of runs/esc10/last and runs/digits/last.
    """
    found = []
    for at, name in enumerate(names):
        parts = 1
        while any(_tail(name, parts) == _tail(n, parts) for n in [*names[:at], *names[at + 1 :]]):
            parts += 1
            if parts > len(Path(name).parts):
                break
        found.append(_tail(name, parts) if parts <= len(Path(name).parts) else name)
    return found


def _tail(name: str, parts: int) -> str:
    path = Path(name)
    if name.endswith((".csv", ".json")):
        path = path.with_suffix("")
    return "/".join(path.parts[-parts:]) or name
