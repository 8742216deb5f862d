"""The recordings of a job: from folders, patterns, manifests, lists of files and single files."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from ...audio.sound_formats import OTHER_SUFFIXES, SUFFIXES
from ...audio.sounds import Sound
from ...common.errors import SpectrimError
from ...common.parse import read_lines
from ...common.paths import path_in
from ...data.manifest import read_data
from ...data.sound_files import folders_below, sound_files

MANIFEST_SUFFIXES = (".csv", ".tsv", ".json")
LIST_SUFFIX = ".txt"

Key = tuple[str, float | None, float | None]
"""What a recording is recognised by: absolute path, start and end."""

Version = tuple[int, int]
"""Bytes of a file, and when it was changed last, in nanoseconds."""


@dataclass(frozen=True)
class Recording:
    """A file, or a part of it.

    Attributes:
        path: as the user wrote it, or below the folder that the user named.
        start, end: seconds of the part; None: from the start of the file, to its end.
        problem: why it cannot be read, if that is known before decoding.
        weight: bytes of the file, or the share of this part; measures progress.
        load: returns the sound to decode; None: the file at `path`.
        name: for files about the recording: its path below the folder that the user named, without
            the suffix; for a row of a data set, the name of the data set and the row.
    """

    path: str
    start: float | None = None
    end: float | None = None
    problem: str | None = None
    weight: float = 0.0
    load: Callable[[], Sound] | None = field(default=None, compare=False)
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).stem)

    @property
    def key(self) -> Key:
        """See `Key`."""
        return os.path.abspath(self.path), self.start, self.end

    @property
    def version(self) -> Version | None:
        """Size and time of the last change of the file; None if there is no regular file."""
        if self.load is not None:
            return None
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def sound(self) -> Sound:
        """The sound to decode.

        Raises:
            SpectrimError: it cannot be loaded.
        """
        return self.path if self.load is None else self.load()


def recordings_of(inputs: Iterable[str | os.PathLike[str]]) -> list[Recording]:
    """List the recordings of several inputs, in their order.

    Args:
        inputs: folders, sound files, patterns such as "field/**/*.wav", manifests (CSV or the
            reference's JSON), text files with one path per line, relative to the text file, and
            data sets of `datasets` on disk (see `audio_rows`).

    Returns:
        Recordings. An input that cannot be listed is one recording with a `problem`.
    """
    recordings: list[Recording] = []
    for text in inputs:
        try:
            recordings.extend(_listed(Path(text)))
        except SpectrimError as error:
            recordings.append(Recording(os.fspath(text), problem=str(error)))
        except OSError as error:
            problem = f"{os.fspath(text)}: {error.strerror or error}."
            recordings.append(Recording(os.fspath(text), problem=problem))
    return _weighed(recordings)


def without_repeated(recordings: Sequence[Recording]) -> list[Recording]:
    """Each recording once, where it is listed first."""
    first: dict[Key, Recording] = {}
    for recording in recordings:
        first.setdefault(recording.key, recording)
    return list(first.values())


def _listed(path: Path) -> list[Recording]:
    from .audio_rows import is_data_set, recordings_in_data_set

    if is_data_set(path):
        return recordings_in_data_set(path)
    if path.is_dir():
        return [_recording(file, path) for file in sound_files(path)]
    suffix = path.suffix.lower()
    if path.is_file() and suffix in MANIFEST_SUFFIXES:
        clips = read_data(path).clips
        return [_recording(clip.path, path.parent, clip.start, clip.end) for clip in clips]
    if path.is_file() and suffix == LIST_SUFFIX:
        return _listed_in(path)
    if not path.exists() and glob.has_magic(str(path)):
        return _matches(path)
    return [Recording(str(path))]


def _recording(
    file: Path, folder: Path, start: float | None = None, end: float | None = None
) -> Recording:
    """A file, or a part of it, whose name is its path below a folder; otherwise its own name."""
    below = file.relative_to(folder) if file.is_relative_to(folder) else Path(file.name)
    if ".." in below.parts:
        below = Path(file.name)
    return Recording(str(file), start, end, name=str(below.with_suffix("")))


def _listed_in(path: Path) -> list[Recording]:
    lines = read_lines(path, "a list of sound files")
    recordings = [_recording(path_in(path.parent, line), path.parent) for line in lines]
    if not recordings:
        raise SpectrimError(f"{path}: contains no path. Write one path per line.")
    return recordings


def _matches(pattern: Path) -> list[Recording]:
    recordings: list[Recording] = []
    folder = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    for match in sorted(_expanded(pattern), key=str):
        if os.path.isdir(match):
            continue  # "**" also matches folders, whose files match as well
        if match.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES):
            recordings.append(_recording(match, folder))
    if not recordings:
        raise SpectrimError(
            f"{pattern}: no sound file matches this pattern. In a shell, quote the pattern."
        )
    return recordings


def _expanded(pattern: Path) -> set[Path]:
    """The files and folders that match a pattern.

    "**" stands for a folder and its subfolders. `glob` follows links for "**", so its search does
    not end where two links lead to a folder above.
    """
    parts = pattern.parts
    if "**" not in parts:
        return {Path(match) for match in glob.glob(str(pattern))}
    index = parts.index("**")
    head, tail = Path(*parts[:index]), Path(*parts[index + 1 :] or "*")
    roots = _expanded(head) if glob.has_magic(str(head)) else {head}
    folders = [folder for root in roots if os.path.isdir(root) for folder in folders_below(root)]
    return {
        match for folder in folders for match in _expanded(Path(glob.escape(str(folder)), tail))
    }


def _weighed(recordings: Sequence[Recording]) -> list[Recording]:
    """With weights: the size of a file is divided among the recordings that are parts of it."""
    counts: dict[str, int] = {}
    for recording in recordings:
        counts[recording.path] = counts.get(recording.path, 0) + 1
    return [
        replace(recording, weight=_size(recording.path) / counts[recording.path])
        for recording in recordings
    ]


def _size(path: str) -> int:
    """Bytes of a file; 1 for one that cannot be read, which still counts as work."""
    try:
        return max(1, os.stat(path).st_size)
    except (OSError, ValueError):
        return 1
