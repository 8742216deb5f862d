"""AudioSet: its published lists of segments, and the clips that could be downloaded."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...audio.encoded_files import readable_suffixes
from ...common.errors import SpectrimError
from ...models import labels
from ..clip import Clip
from .listing import Listing, lines_of, names_below

BALANCED = "balanced_train_segments.csv"
UNBALANCED = "unbalanced_train_segments.csv"
EVAL = "eval_segments.csv"
CLASSES = "class_labels_indices.csv"
FOREIGN = (".m4a", ".mp4", ".webm", ".mkv", ".aac")  # of downloads; FFmpeg decodes them


@dataclass(frozen=True)
class Segment:
    """One row of a list: video id, start and end in seconds, machine ids of the labels."""

    video: str
    start: float
    end: float
    labels: tuple[str, ...]


def audioset(folder: Path) -> Listing:
    """`audioset-balanced` (balanced list for training, eval list for testing), `audioset-full`.

    `audioset-full` requires the unbalanced list and adds it to the training clips. Labels are
    machine ids such as /m/09x0r, as in the lists; evaluation maps them to the names of a model.

    Sound files may be in any subfolder. Each is a clip that is already cut to its segment. Its
    name is the video id, with or without a Y in front, optionally followed by the start, or the
    start and the end: ID.wav, YID.wav, ID_30.wav, ID_30_40.wav, ID_30.0_40.0.wav,
    YID_30.000_40.000.wav, ID_30000_40000.wav (milliseconds); WAV, FLAC, Ogg, Opus or MP3, and
    with FFmpeg also m4a, mp4, webm, mkv or aac.
    Many videos no longer exist: their ids are in `missing`.

    Raises:
        SpectrimError: a list is missing or has a wrong row, a label is not a class of AudioSet,
            or there are no clips.
    """
    known = _classes(folder)
    lists = {name: _segments(folder / name, known) for name in (BALANCED, EVAL)}
    if (folder / UNBALANCED).is_file():
        lists[UNBALANCED] = _segments(folder / UNBALANCED, known)
    files, foreign = _index(folder)
    clips: dict[str, list[Clip]] = {}
    missing = []
    for name, segments in lists.items():
        clips[name] = []
        for segment in segments:
            path = next((files[stem] for stem in _stems(segment) if stem in files), None)
            if path is None:
                missing.append(segment.video)
            else:
                split = "test" if name == EVAL else "train"
                clips[name].append(Clip(folder / path, segment.labels, split))
    if not any(clips.values()):
        hint = (
            f" ({foreign} of {', '.join(FOREIGN)} do, which need FFmpeg: install ffmpeg)"
            if foreign
            else ""
        )
        raise SpectrimError(
            f"{folder}: none of the {len(missing)} clips of the lists exists{hint}. Expected "
            "names such as YOUTUBEID.wav or YOUTUBEID_30_40.flac."
        )
    manifests = {"audioset-balanced": clips[BALANCED] + clips[EVAL]}
    if UNBALANCED in clips:
        manifests["audioset-full"] = clips[BALANCED] + clips[UNBALANCED] + clips[EVAL]
    return Listing(manifests, missing)


def _classes(folder: Path) -> set[str]:
    """Machine ids of the classes, from the table in the folder or from the built-in one."""
    if not (folder / CLASSES).is_file():
        return {mid for mid, _ in labels.audioset()}
    reader = csv.DictReader(lines_of(folder / CLASSES, "AudioSet"))
    if "mid" not in (reader.fieldnames or ()):
        raise SpectrimError(
            f"{folder / CLASSES}: no column 'mid'. Expected index, mid and display_name."
        )
    return {row["mid"] for row in reader}


def _segments(path: Path, known: set[str]) -> list[Segment]:
    """Rows `YTID, start_seconds, end_seconds, "mid,mid"`; lines that begin with # are comments."""
    lines = lines_of(path, "AudioSet")
    segments = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = next(csv.reader([line], skipinitialspace=True))
        segment = _segment(cells)
        if segment is None:
            raise SpectrimError(
                f"{path}, line {number}: {line.strip()!r}. Expected YTID, start, end and quoted "
                'labels, such as --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088".'
            )
        for mid in segment.labels:
            if mid not in known:
                raise SpectrimError(f"{path}, line {number}: {mid!r} is not a class of AudioSet.")
        segments.append(segment)
    return segments


def _segment(cells: list[str]) -> Segment | None:
    """The segment of a row; None if the row is wrong."""
    try:
        video, start, end, mids = cells
        segment = Segment(video, float(start), float(end), tuple(mids.split(",")))
    except ValueError:
        return None
    return segment if video and 0 <= segment.start < segment.end < math.inf else None


def _index(folder: Path) -> tuple[dict[str, str], int]:
    """Sound files by stem, and the number of files in formats that cannot be read.

    If several files have the same stem, the format that comes first in `readable_suffixes` wins,
    then the first path.
    """
    suffixes = readable_suffixes()
    best: dict[str, tuple[int, str]] = {}
    foreign = 0
    for name in names_below(folder):
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in suffixes:
            rank = (suffixes.index(suffix), name)
            best[path.stem] = min(best.get(path.stem, rank), rank)
        else:
            foreign += suffix in FOREIGN
    return {stem: name for stem, (_, name) in best.items()}, foreign


def _stems(segment: Segment) -> Iterator[str]:
    """Names that the file of a segment may have, without suffix; names with times first."""
    forms = []
    for text in ("{:g}", "{:.1f}", "{:.3f}"):
        start, end = text.format(segment.start), text.format(segment.end)
        forms += [f"_{start}_{end}", f"_{start}"]
    start, end = str(round(segment.start * 1000)), str(round(segment.end * 1000))
    forms += [f"_{start}_{end}", f"_{start}", ""]
    for form in forms:
        yield segment.video + form
        yield f"Y{segment.video}{form}"
