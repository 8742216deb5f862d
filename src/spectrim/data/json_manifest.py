"""The reference's manifests: {"data": [{"wav": path, "labels": "/m/a,/m/b"}]}, a file a split."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..common.files import read_json, save_json
from .clip import Clip


def read_json_manifest(path: Path) -> list[Clip]:
    """Read the clips of such a file; paths are absolute, or relative to it.

    Raises:
        SpectrimError: not JSON, or an entry of another form, which is named.
    """
    data = read_json(path)
    rows: Any = data.get("data") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise SpectrimError(f'{path}: wanted {{"data": [{{"wav": ..., "labels": ...}}, ...]}}.')
    clips = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("wav"), str):
            raise SpectrimError(f"{path}, entry {number}: the key 'wav' (a path) is missing.")
        labels = row.get("labels") or ""
        parts = labels.split(",") if isinstance(labels, str) else labels
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise SpectrimError(
                f"{path}, entry {number}: 'labels' is {labels!r}; wanted text, names parted by "
                "commas, or a list of names."
            )
        names = tuple(part.strip() for part in parts if part.strip())
        clips.append(Clip(path.parent / row["wav"], names, row=number))
    return clips


def write_json_manifest(path: Path, clips: Iterable[Clip]) -> Path:
    """Write clips in that form, with absolute paths, as the reference wants them.

    The form knows no splits, folds and targets: a file a split is what is meant.

    Raises:
        SpectrimError: a label with a comma, or a clip that is a part of its file, neither of
            which the form can say; nothing is written then.
    """
    rows = []
    for clip in clips:
        for label in clip.labels:
            if "," in label:
                raise SpectrimError(
                    f"{path}: the label {label!r} of {clip.path} holds a comma, which parts labels "
                    "in this form; write CSV, or use machine ids."
                )
        if clip.start is not None or clip.end is not None:
            raise SpectrimError(
                f"{path}: {clip.path} is wanted from {clip.start or 0:g} s to "
                f"{'its end' if clip.end is None else f'{clip.end:g} s'}, which this form cannot "
                "say; write CSV."
            )
        rows.append({"wav": os.path.abspath(clip.path), "labels": ",".join(clip.labels)})
    return save_json(path, {"data": rows})
