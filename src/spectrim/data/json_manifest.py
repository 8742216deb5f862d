"""JSON manifests of the reference: {"data": [{"wav": path, "labels": "/m/a,/m/b"}]}."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..common.errors import SpectrimError
from ..common.files import save_json
from ..common.parse import read_json
from ..common.paths import path_in
from .clip import Clip


def read_json_manifest(path: Path) -> list[Clip]:
    """Read the clips of a JSON manifest; paths are absolute or relative to the file.

    Raises:
        SpectrimError: not JSON, or a wrong entry, which the message names.
    """
    data = read_json(path)
    rows: Any = data.get("data") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise SpectrimError(f'{path}: expected {{"data": [{{"wav": ..., "labels": ...}}, ...]}}.')
    clips = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("wav"), str):
            raise SpectrimError(f"{path}, entry {number}: the key 'wav' (a path) is missing.")
        labels = row.get("labels") or ""
        names = labels.split(",") if isinstance(labels, str) else labels
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SpectrimError(
                f"{path}, entry {number}: 'labels' is {labels!r}. Expected a list of names, or a "
                "text of names separated by commas."
            )
        stripped = tuple(name.strip() for name in names if name.strip())
        clips.append(Clip(path_in(path.parent, row["wav"]), stripped, row=number))
    return clips


def write_json_manifest(path: Path, clips: Iterable[Clip]) -> Path:
    """Write a JSON manifest with absolute paths, as the reference requires.

    The format has no splits, folds or targets: write one file per split.

    Raises:
        SpectrimError: a label with a comma, or a clip that is a part of its file. The format can
            store neither, so nothing is written.
    """
    rows = []
    for clip in clips:
        for label in clip.labels:
            if "," in label:
                raise SpectrimError(
                    f"{path}: the label {label!r} of {clip.path} contains a comma, which separates "
                    "labels in JSON manifests. Write CSV, or use machine ids."
                )
        if clip.start is not None or clip.end is not None:
            raise SpectrimError(
                f"{path}: the clip of {clip.path} lasts from {clip.start or 0:g} s to "
                f"{'its end' if clip.end is None else f'{clip.end:g} s'}, which a JSON manifest "
                "cannot store. Write CSV."
            )
        rows.append({"wav": os.path.abspath(clip.path), "labels": ",".join(clip.labels)})
    return save_json(path, {"data": rows})
