"""Decoded waveforms on disk, mapped into memory: a file is decoded once, not in every epoch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..audio.constants import SAMPLE_RATE
from ..audio.decode import read
from ..common.errors import SpectrimError
from ..common.files import written_aside
from .clip import Clip

VERSION = 2  # of the waveforms that `read` returns; raise it when decoding changes


class CacheError(SpectrimError):
    """The cache cannot be written to. No clip is left out, because no clip is at fault."""


class Waveforms:
    """The clips of a list by position, mono float32, decoded or mapped.

    The cache has one .npy file per clip. Its name is a checksum of the source's path, size and
    modification time and of the part, channel and sample rate that are read, so a source that
    changes is decoded again. Several processes may share a folder, because files appear whole. The
    folder may be deleted at any time. An hour of audio at 16 kHz takes 230 MB.

    Args:
        clips: the clips to read.
        folder: folder of the cache, for example on a RAM disk; None: decode every time.
        seconds: at most this much of each clip; None: all of it.
        rate: sample rate in Hz.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        folder: Path | None = None,
        seconds: float | None = None,
        rate: int = SAMPLE_RATE,
    ) -> None:
        self.clips = clips
        self.folder = folder
        self.seconds = seconds
        self.rate = rate

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, position: int) -> np.ndarray:
        """(samples,) float32; read only.

        Raises:
            SpectrimError: the file cannot be read.
            CacheError: the cache cannot be written to.
        """
        clip = self.clips[position]
        end = clip.end_within(self.seconds)
        if self.folder is None:
            return read(clip.path, clip.start, end, clip.channel, self.rate)
        path = self.folder / self._name(clip, end)
        # Missing or damaged files are written again.
        with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
            return np.load(path, mmap_mode="r", allow_pickle=False)
        waveform = read(clip.path, clip.start, end, clip.channel, self.rate)
        try:
            with written_aside(path) as aside:
                np.save(aside, waveform, allow_pickle=False)
        except SpectrimError as error:
            raise CacheError(f"{error} The recipe key data.cache names this folder.") from error
        return waveform

    def _name(self, clip: Clip, end: float | None) -> str:
        try:
            status = clip.path.stat()
        except OSError as error:
            raise SpectrimError(f"{clip.path}: {error.strerror}.") from error
        source = (VERSION, os.path.abspath(clip.path), status.st_size, status.st_mtime_ns)
        # Names at 16 kHz do not contain the rate, so caches of earlier versions stay valid.
        rate = () if self.rate == SAMPLE_RATE else (self.rate,)
        text = repr((*source, clip.start, end, clip.channel, *rate)).encode()
        digest = hashlib.blake2b(text, digest_size=16).hexdigest()
        return f"{digest[:2]}/{digest}.npy"
