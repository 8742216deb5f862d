"""The sound files of a folder, and what is left out of it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..audio.encoded_files import readable_suffixes
from ..audio.sound_formats import INSTALL, OTHER_SUFFIXES
from ..common.errors import SpectrimError, SpectrimNotice
from ..common.paths import ABSENT, FILE, FOLDER, stat_type
from ..common.text import counted

SHOWN = 4  # suffixes in a message


@dataclass
class _Listing:
    """What a folder and its subfolders hold.

    Attributes:
        suffixes: of the files that are read.
        sounds: files with such a suffix; others: with a suffix that needs FFmpeg, which is missing.
        plain: files without a suffix of sound.
        broken: links to nothing with a suffix of sound; special: pipes, sockets and devices.
        folders: the folders that were listed; unreadable: those that are refused.
        links: links to folders, which are followed after all folders that are none.
        loops: links to folders that are listed already, such as a folder above.
        visited: device and inode of the folders so far.
    """

    suffixes: tuple[str, ...]
    sounds: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    plain: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    special: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    loops: list[Path] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def add(self, folder: Path) -> None:
        """List a folder and its subfolders, without what is hidden."""
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.unreadable.append(folder)
            return
        if (status.st_dev, status.st_ino) in self.visited:
            self.loops.append(folder)
            return
        self.visited.add((status.st_dev, status.st_ino))
        self.folders.append(folder)
        for entry in entries:
            # Hidden files are not the user's: macOS writes "._a.wav" beside "a.wav".
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                self.add(path)
                continue
            try:
                path_type = stat_type(path)
            except OSError:  # the folder may be listed, but not entered
                path_type = FILE  # reading the file will fail, and name it
            if path_type == FOLDER:
                self.links.append(path)
            else:
                self._add_file(path, path_type)

    def _add_file(self, path: Path, path_type: str) -> None:
        suffix = path.suffix.lower()
        is_read = suffix in self.suffixes
        if not is_read and suffix not in OTHER_SUFFIXES:
            self.plain.append(path)
        elif path_type == FILE:
            (self.sounds if is_read else self.others).append(path)
        else:
            (self.broken if path_type == ABSENT else self.special).append(path)

    def skipped(self) -> str:
        """How many files were skipped and why; "" for none."""
        without, decodable = "without a suffix of sound", "that FFmpeg could decode"
        reasons = (
            (self.plain, without, without),
            (self.others, decodable, decodable),
            (self.broken, "link to nothing", "links to nothing"),
            (self.special, "pipe, socket or device", "pipes, sockets or devices"),
            (self.unreadable, "folder that cannot be listed", "folders that cannot be listed"),
            (
                self.loops,
                "link to a folder that is listed already",
                "links to folders that are listed already",
            ),
        )
        texts = [
            f"{len(paths)} {one if len(paths) == 1 else many} ({_counts_of_suffixes(paths)})"
            for paths, one, many in reasons
            if paths
        ]
        if not texts:
            return ""
        count = sum(len(paths) for paths, _, _ in reasons)
        text = f"skipped {counted(count, 'file')}: {', '.join(texts)}."
        return f"{text} {INSTALL}." if self.others else text


def _counts_of_suffixes(paths: Sequence[Path]) -> str:
    """Such as "2 .m4a, 1 .mp4, the first is a/b.m4a"."""
    counts = Counter(path.suffix.lower() for path in paths)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    texts = [f"{count} {suffix}" for suffix, count in common if suffix]
    return ", ".join([*texts, f"the first is {min(paths)}"])


def sound_files(folder: Path) -> list[Path]:
    """Sound files in a folder and its subfolders, sorted by path.

    Links to folders are followed, each folder once. Hidden files and folders are not listed. A
    notice states how many files are skipped and why.

    Raises:
        SpectrimError: there are none.
    """
    listing = _listing_of(folder)
    skipped = listing.skipped()
    if not listing.sounds:
        raise SpectrimError(
            f"{folder}: no sound file in it or below; expected a suffix such as .wav, .flac, .mp3 "
            f"or .ogg.{' ' if skipped else ''}{skipped[:1].upper()}{skipped[1:]}"
        )
    if skipped:
        warnings.warn(SpectrimNotice(f"{folder}: {skipped}"), stacklevel=2)
    return sorted(listing.sounds)


def folders_below(folder: Path) -> list[Path]:
    """A folder and its subfolders, as `sound_files` walks through them."""
    return _listing_of(folder).folders


def _listing_of(folder: Path) -> _Listing:
    listing = _Listing(readable_suffixes())
    listing.add(folder)
    while listing.links:
        listing.add(listing.links.pop(0))
    return listing
