"""Corpora that were packed into few long files, with their own manifests beside them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing, lines_of


def packed(
    folder: Path,
    manifests: Mapping[str, str],
    corpus: str,
    clip_of: Callable[[Clip, Mapping[str, str]], Clip] = lambda clip, row: clip,
) -> Listing:
    """Clips of the manifests in a folder; rows whose file does not exist are missing.

    Args:
        manifests: file names, and the names of the manifests to write.
        corpus: name of the corpus, for messages.
        clip_of: from a clip and its row, with all columns, to the clip to list.

    Raises:
        SpectrimError: a manifest is missing, has a wrong row, or lists no clip.
    """
    clips: dict[str, list[Clip]] = {}
    missing: list[str] = []
    for file, name in manifests.items():
        rows = packed_rows(folder / file, corpus)
        clips[name] = [clip_of(clip, row) for clip, row in rows if clip.path.is_file()]
        missing += [row["path"] for clip, row in rows if not clip.path.is_file()]
    return Listing(clips, list(dict.fromkeys(missing)))


def packed_rows(path: Path, corpus: str) -> list[tuple[Clip, dict[str, str]]]:
    """Clips of a packed manifest, each with its row.

    Required columns: path, label, start, end. Optional: split, fold, licence, and others that the
    corpus uses.

    Raises:
        SpectrimError: as `packed`.
    """
    reader = csv.DictReader(lines_of(path, corpus))
    lacking = {"path", "label", "start", "end"} - set(reader.fieldnames or ())
    if lacking:
        raise SpectrimError(
            f"{path}: no column {sorted(lacking)[0]!r}. Expected path, label, start and end."
        )
    clips = []
    for row in reader:
        try:
            start, end = float(row["start"]), float(row["end"])
        except (TypeError, ValueError):
            start = end = 0.0
        if not (row["path"] and row["label"] and 0 <= start < end):
            raise SpectrimError(
                f"{path}, row {reader.line_num}: expected a path, a label, and seconds with "
                "0 <= start < end."
            )
        clip = Clip(
            path.parent / row["path"], (row["label"],), row.get("split") or None,
            row.get("fold") or None, start, end, licence=row.get("licence") or None,
        )  # fmt: skip
        clips.append((clip, row))
    if not clips:
        raise SpectrimError(f"{path}: lists no clip. Expected the table of {corpus}.")
    return clips
