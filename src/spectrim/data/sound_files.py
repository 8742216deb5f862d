"""The sound files of a folder, and what is left out of it."""

from __future__ import annotations

import os
import shlex
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..audio.formats import OTHER_SUFFIXES, SUFFIXES
from ..common.errors import SpectrimError, SpectrimNotice


@dataclass
class _Listing:
    """What a folder and its subfolders hold.

    Attributes:
        sounds: files with a suffix that is read; others: with one that needs another decoder.
        broken: links to nothing with a suffix of sound; unreadable: folders that are refused.
        links: links to folders, which are followed after all folders that are none.
        visited: device and inode of the folders so far, so that no loop of links is followed.
    """

    sounds: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
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
            return
        self.visited.add((status.st_dev, status.st_ino))
        for entry in entries:
            # Hidden files are not the user's: macOS writes "._a.wav" beside "a.wav".
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                self.add(path)
            elif path.is_dir():
                self.links.append(path)
            else:
                self._add_file(path)

    def _add_file(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES and suffix not in OTHER_SUFFIXES:
            return
        if not path.is_file():
            self.broken.append(path)
        else:
            (self.sounds if suffix in SUFFIXES else self.others).append(path)

    def left_out(self) -> list[str]:
        """What is left out, in words."""
        texts = []
        if self.others:
            counts = Counter(path.suffix.lower() for path in self.others)
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
            first = min(self.others)
            command = shlex.join(["ffmpeg", "-i", str(first), str(first.with_suffix(".wav"))])
            texts.append(
                f"files that Spectrim does not decode ({kinds}; the first is {first}). Convert "
                f"them, for example with {command}"
            )
        for paths, kind in (
            (self.broken, "links to nothing, and no files"),
            (self.unreadable, "folders that cannot be listed"),
        ):
            if paths:
                texts.append(f"{len(paths)} {kind} (the first is {min(paths)})")
        return texts


def sound_files(folder: Path) -> list[Path]:
    """Sound files in a folder and its subfolders, sorted by path.

    Links to folders are followed, each folder once. Hidden files and folders are not listed. A
    notice names what is left out.

    Raises:
        SpectrimError: there are none.
    """
    listing = _Listing()
    listing.add(folder)
    while listing.links:
        listing.add(listing.links.pop(0))
    left_out = "; ".join(listing.left_out())
    if not listing.sounds:
        but = f" Left out: {left_out}." if left_out else ""
        raise SpectrimError(f"{folder}: no sound file in it or below ({', '.join(SUFFIXES)}).{but}")
    if left_out:
        warnings.warn(SpectrimNotice(f"{folder}: left out: {left_out}."), stacklevel=2)
    return sorted(listing.sounds)
