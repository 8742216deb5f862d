"""Decoded waveforms on disk, mapped into memory: each file is decoded once, not once an epoch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..audio.decode import read
from ..common.errors import SpectrimError
from ..common.files import written_aside
from .clip import Clip

VERSION = 1  # of what `read` gives; raise it when decoding changes


class CacheError(SpectrimError):
    """The cache cannot be written to: no fault of a clip, so no clip is left out for it."""


class Waveforms:
    """The clips of a list by position, 16 kHz mono float32, decoded or mapped.

    One .npy file a clip, whose name is a checksum of the source's path, size and time of change
    and of the part that is read. So a source that changes is decoded anew, several processes may
    share a folder (files appear whole, and two that decode the same write the same), and a folder
    may be deleted at any time. An hour of audio takes 230 MB.

    Args:
        clips: what is read.
        folder: of the cache, for example on a RAM disk; None: decode every time.
        seconds: no more than this of each clip; None: all of it.
    """

    def __init__(
        self, clips: Sequence[Clip], folder: Path | None = None, seconds: float | None = None
    ) -> None:
        self.clips = clips
        self.folder = folder
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, position: int) -> np.ndarray:
        """(samples,) float32, not to be written to.

        Raises:
            SpectrimError: the file cannot be read.
            CacheError: the cache cannot be written to.
        """
        clip = self.clips[position]
        end = clip.end_within(self.seconds)
        if self.folder is None:
            return read(clip.path, clip.start, end)
        path = self.folder / self._name(clip, end)
        # Not there, or not whole.
        with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
            return np.load(path, mmap_mode="r", allow_pickle=False)
        waveform = read(clip.path, clip.start, end)
        try:
            with written_aside(path) as aside:
                np.save(aside, waveform, allow_pickle=False)
        except SpectrimError as error:
            raise CacheError(f"{error} The folder of decoded waveforms is data.cache.") from error
        return waveform

    @staticmethod
    def _name(clip: Clip, end: float | None) -> str:
        try:
            found = clip.path.stat()
        except OSError as error:
            raise SpectrimError(f"{clip.path}: {error.strerror}.") from error
        about = (VERSION, os.path.abspath(clip.path), found.st_size, found.st_mtime_ns)
        text = repr((*about, clip.start, end)).encode()
        digest = hashlib.blake2b(text, digest_size=16).hexdigest()
        return f"{digest[:2]}/{digest}.npy"
